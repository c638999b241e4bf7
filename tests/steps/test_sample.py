"""Sampling writes files and draws noise in a second thread."""

import errno

import pytest
import torch

from reward_finetuning.config import RetryableError
from reward_finetuning.policy.load import load_policy
from reward_finetuning.policy.sampling import draw_micro_batch
from reward_finetuning.records import Stream
from reward_finetuning.steps import sample as sample_step
from reward_finetuning.storage import artifact_names, read_reference
from reward_finetuning.storage.artifacts.rollouts import latents_file, read_images, read_rollouts, read_samples

pytestmark = pytest.mark.slow


def test_what_the_second_thread_does_leaves_the_bits_of_one_micro_batch_after_the_other(tasks):
    one = tasks()
    drawn, _ = one.rollouts(one.begin())
    folder, _ = one.run.open(read_reference(drawn[0]))
    rollouts = read_rollouts([folder / latents_file(number) for number in (0, 1)], read_samples(folder))
    config = one.run.config
    policy = load_policy(config.model, config.sampling, seed=config.seed)
    key = {"seed": config.seed, "stream": Stream.TRAINING, "epoch": 1}

    for rows, images in zip(([0, 1, 2, 3], [4, 5]), read_images(folder, [0, 1]), strict=True):
        members = [rollouts.samples[row] for row in rows]
        expected, pictures = draw_micro_batch(policy, members, config.sampling, denoise_ref=None, **key)

        assert torch.equal(rollouts.latents[torch.tensor(rows)], expected.latents)
        assert torch.equal(rollouts.log_probs[rows], expected.log_probs)
        assert (images == pictures).all()


def test_an_error_of_the_last_file_that_the_second_thread_writes_ends_sampling(tasks, monkeypatch):
    one = tasks()
    one.begin()
    write = sample_step.write_micro_batch

    def on_a_full_disk(folder, micro_batch, *contents):
        if micro_batch == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(folder, micro_batch, *contents)

    monkeypatch.setattr(sample_step, "write_micro_batch", on_a_full_disk)

    with pytest.raises(RetryableError, match="No space left on device"):
        sample_step.sample(one.config, "1", "0", one.path("rollouts"))
    assert one.run.store.manifest(artifact_names.rollouts(1, 0, 2)) is None
