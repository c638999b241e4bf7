"""Every objective through the steps: the policy learns, from rollouts of its own or of the pretrained model."""

import pytest

from reward_finetuning.config.sections.objective import DdpoConfig, DpokConfig, PpodConfig, PrdpConfig, RwrConfig
from reward_finetuning.storage import Reference
from reward_finetuning.storage.artifacts.rollouts import read_rollouts
from reward_finetuning.training.learner import learner_at

pytestmark = pytest.mark.slow

OBJECTIVES = {
    "ddpo": DdpoConfig(clip_range=1e-3, min_count=2),
    "dpok": DpokConfig(clip_range=1e-3, kl_weight=0.1, value_updates=2),
    "ppod": PpodConfig(kl_weight=30.0, clip_range=1e-2, pairs_per_update=2, convergence=None),
    "prdp": PrdpConfig(kl_weight=1e-3, clip_range=1e-3),
    "rwr": RwrConfig(),
}
METRICS = {
    "ddpo": {"loss", "clip_fraction", "advantage_std", "own_statistics_share", "log_prob_gap_max"},
    "dpok": {
        "loss",
        "clip_fraction",
        "advantage_std",
        "kl",
        "value_loss",
        "value_explained_variance",
        "log_prob_gap_max",
    },
    "ppod": {"loss", "pair_accuracy", "live_share", "live_share_at_start"},
    "prdp": {"loss", "clip_fraction", "tied_prompts"},
    "rwr": {"loss", "effective_sample_size", "weighted_images"},
}


def two_epochs(one):
    plan = one.begin()
    return [one.epoch(plan, offset) for offset in range(2)]


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("trainable", ["full", "lora"])
def test_two_epochs_change_the_policy_twice_and_report_numbers(tasks, name, trainable):
    one = tasks(objective=OBJECTIVES[name], model={"trainable": trainable}, training={"updates_per_epoch": 2})

    first, second = two_epochs(one)

    assert first.facts["weights_sha256"] != second.facts["weights_sha256"]
    for after in (first, second):
        metrics = {key.removeprefix("train/"): value for key, value in after.facts["metrics"].items()}
        assert METRICS[name] <= metrics.keys()
        assert metrics["updates"] == 2
        assert metrics["grad_norm"] > 0
        assert metrics["loss"] != 0


@pytest.mark.parametrize("name", OBJECTIVES)
def test_what_an_objective_learnt_is_in_the_checkpoint(tasks, name):
    one = tasks(objective=OBJECTIVES[name])
    after = one.epoch(one.begin())

    restored = learner_at(one.run, after, keep_reference=False).objective.state_dict()

    fresh = learner_at(one.run, Reference(epoch=0), keep_reference=False).objective.state_dict()
    assert (sum(value.numel() for value in restored.values()) > sum(value.numel() for value in fresh.values())) == (
        name in {"ddpo", "dpok"}
    )


def test_ddpo_learns_from_one_image_per_prompt(tasks):
    one = tasks(
        objective=DdpoConfig(clip_range=1e-3),
        sampling={"images_per_prompt": 1},
        prompts={"prompts_per_epoch": 6},
    )

    first, second = two_epochs(one)

    assert first.facts["weights_sha256"] != second.facts["weights_sha256"]
    assert second.facts["metrics"]["train/own_statistics_share"] == 0.0


def test_rwr_goes_on_learning_from_the_rollouts_of_the_pretrained_model(tasks):
    one = tasks(objective=RwrConfig(), sampling={"rollouts": "offline"}, loop={"granularity": "split"})

    first, second = two_epochs(one)

    assert first.facts["weights_sha256"] != second.facts["weights_sha256"]
    assert first.facts["metrics"]["reward/mean"] == second.facts["metrics"]["reward/mean"]
    names = {epoch: one.run.store.names(f"epochs/{epoch}") for epoch in ("0001", "0002")}
    assert any(name.startswith("rollouts-") for name in names["0001"])
    assert names["0002"] == ["policy"]


def test_offline_ppod_that_has_converged_does_no_update_in_a_further_pass(tasks):
    one = tasks(
        objective=PpodConfig(
            kl_weight=30.0, clip_range=10.0, pairs_per_update=2, convergence={"check_every": 1, "patience": 1}
        ),
        sampling={"rollouts": "offline", "images_per_prompt": 4},
        training={"updates_per_epoch": 20},
    )

    first, second = two_epochs(one)

    assert 0 < first.facts["metrics"]["train/updates"] < 20
    assert second.facts["metrics"]["train/updates"] == 0
    assert second.facts["weights_sha256"] == first.facts["weights_sha256"]


def test_offline_passes_of_a_resumed_run_train_on_the_same_images_as_those_of_one_run(tasks):
    ppod = PpodConfig(kl_weight=1.0, clip_range=10.0, pairs_per_update=4, convergence=None)
    settings = {"objective": ppod, "sampling": {"rollouts": "offline"}}
    begun = tasks(name="two", **settings, loop={"granularity": "split", "epochs": 1})
    begun.epoch(begun.begin())

    resumed = tasks(name="two", **settings, loop={"granularity": "split", "epochs": 2})
    resumed.rollouts(resumed.begin())
    after = resumed.train()
    *_, straight = two_epochs(tasks(name="straight", **settings, loop={"granularity": "split", "epochs": 2}))

    assert after.facts["weights_sha256"] == straight.facts["weights_sha256"]
    drawn = [name for epoch in ("0001", "0002") for name in resumed.run.store.names(f"epochs/{epoch}")]
    assert sum("rollouts" in name for name in drawn) == 1


@pytest.mark.parametrize(
    ("objective", "share"), [(OBJECTIVES["ddpo"], 0.25), (OBJECTIVES["rwr"], 0.25), (OBJECTIVES["prdp"], 1.0)], ids=str
)
def test_the_reference_is_evaluated_where_the_method_reads_it_and_else_at_a_share_of_the_steps(tasks, objective, share):
    one = tasks(
        objective=objective,
        sampling={"images_per_prompt": 4, "micro_batch_size": 2, "kl_share": 0.25},
        loop={"granularity": "split", "num_shards": 2},
    )

    first, second = two_epochs(one)

    names = [name for name in one.run.store.names("epochs/0002") if name.startswith("rollouts-")]
    files = [file for name in names for file in one.run.store.fetch(f"epochs/0002/{name}").glob("trajectories-*")]
    kl = read_rollouts(sorted(files), ()).kl
    assert len(names) == 2
    assert (~kl.isnan()).double().mean() == share
    assert first.facts["metrics"]["sample/kl_to_reference"] == 0.0
    assert second.facts["metrics"]["sample/kl_to_reference"] == pytest.approx(float(kl.double().nanmean()))
    assert second.facts["metrics"]["sample/kl_to_reference"] > 0
