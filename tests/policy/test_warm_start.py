"""A run that starts from another run's policy."""

import pytest
import torch

from reward_finetuning.config import UserError
from reward_finetuning.policy.load import load_policy
from reward_finetuning.policy.restore import WEIGHTS, policy_at
from reward_finetuning.policy.save import save_tensors
from reward_finetuning.steps.next_epochs import begin
from reward_finetuning.storage import Reference, RunDirectory

LORA = {"trainable": "lora"}


@pytest.fixture
def started(nudged_run, run_config):
    """A factory of a run that starts from epoch 1 of another one."""

    def make(reference="pretrained", **changes):
        other = nudged_run({1: 0.1}, **changes)
        start = {"run_directory": other.uri, "epoch": 1, "reference": reference}
        run = RunDirectory(run_config(name="next", warm_start=start, **changes))
        begin(run)
        return run, policy_at(other, other.latest(), keep_reference=False)

    return make


def noise_of(denoiser, policy):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((1, *policy.latent_shape), generator=generator)
    with torch.no_grad():
        return denoiser(x, torch.tensor([500]), policy.encode(["a red circle"]))


@pytest.mark.slow
@pytest.mark.parametrize("model", [{}, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("reference", ["pretrained", "warm_start"])
def test_epoch_0_is_the_other_runs_policy_and_the_reference_what_was_asked_for(started, model, reference):
    run, theirs = started(reference, model=model)
    pretrained = load_policy(run.config.model, run.config.sampling, seed=run.config.seed)
    expected = theirs if reference == "warm_start" else pretrained

    ours = policy_at(run, Reference(epoch=0), keep_reference=True)
    with torch.no_grad():
        moved = {name: weight.add_(0.01) for name, weight in ours.trainable().items()}

    kept = noise_of(ours.reference_denoiser(), ours)
    assert torch.equal(kept, noise_of(expected.denoiser(), expected))
    assert not torch.equal(kept, noise_of(ours.denoiser(), ours))
    assert all(torch.equal(moved[name], weight + 0.01) for name, weight in theirs.trainable().items())


def test_the_fingerprint_knows_the_weights_and_not_where_they_lie(started):
    run, _ = started()

    known = run.fingerprinted()

    assert len(known["warm_start.digest"]) == 64
    assert known["warm_start.reference"] == "pretrained"
    assert not any(run.config.warm_start.run_directory in str(value) for value in known.values())


def test_another_policy_than_the_run_was_begun_with_is_refused(started):
    run, theirs = started()
    other = RunDirectory(run.config.model_copy(update={"name": "tiny", "warm_start": None}))
    name = other.name(1, "policy")
    other.store.delete(name)
    with torch.no_grad():
        changed = {name: weight.add_(1) for name, weight in theirs.trainable().items()}
    other.commit(
        name,
        other.identity("policy", 1, ""),
        lambda folder: {"weights_sha256": save_tensors(changed, folder / WEIGHTS)},
    )

    with pytest.raises(UserError, match="is not the policy with which this run started"):
        policy_at(run, Reference(epoch=0), keep_reference=False)


@pytest.mark.parametrize(
    ("start", "changes", "said"),
    [
        ({"epoch": 2}, {}, "no policy of epoch 2; check retention.policies"),
        ({"run_directory": "/nowhere"}, {}, "/nowhere contains no run"),
        ({}, {"model": LORA}, r"trained other weights .*model.trainable: 'full' there, 'lora' in this run"),
    ],
)
def test_a_start_that_cannot_work_is_refused_before_anything_is_loaded(nudged_run, run_config, start, changes, said):
    other = nudged_run({1: 0.1})
    warm_start = {"run_directory": other.uri, "epoch": 1} | start

    with pytest.raises(UserError, match=said):
        begin(RunDirectory(run_config(name="next", warm_start=warm_start, **changes)))
