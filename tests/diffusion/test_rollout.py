import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Normal

from reward_finetuning.diffusion.ddim import alphas_cumprod, ddim_grid
from reward_finetuning.diffusion.noise import cell_order, image_generator, image_noise, reference_cells
from reward_finetuning.diffusion.rollout import draw, step_means
from reward_finetuning.diffusion.step import DeviceGrid
from reward_finetuning.records import Conditioning, Stream

GRID = ddim_grid(alphas_cumprod(0.00085, 0.012, 1000, "scaled_linear"), 5)


def denoise(x, t, prompts):
    shift = prompts.embeddings.mean(dim=(1, 2))[:, None, None, None]
    return torch.tanh(x * (1 + t[:, None, None, None] / 1000) + shift)


def reference(x, t, prompts):
    return 0.9 * denoise(x, t, prompts)


def drawn(dtype=torch.float32, denoise_ref=reference, images=3, **options):
    g = torch.Generator().manual_seed(0)
    noise = torch.randn(images, 6, 4, 8, 8, generator=g)
    prompts = Conditioning(torch.randn(images, 2, 3, generator=g))
    return draw(denoise, denoise_ref, noise, prompts, GRID, latents_dtype=dtype, **options), noise, prompts


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_stored_log_probs_are_those_of_the_stored_latents(dtype):
    trajectories, _, prompts = drawn(dtype)
    latents = trajectories.latents.double()
    prompts = Conditioning(prompts.embeddings.double())
    on_cpu = DeviceGrid.of(GRID, latents.device, latents.dtype)

    for step in range(5):
        steps = torch.full((3,), step)
        for denoiser, stored in ((denoise, trajectories.log_probs), (reference, trajectories.log_probs_ref)):
            mean = step_means(denoiser, latents[:, step], prompts, on_cpu, steps)
            std = on_cpu.stds[steps][:, None, None, None]
            expected = Normal(mean, std).log_prob(latents[:, step + 1]).mean(dim=(1, 2, 3))
            torch.testing.assert_close(stored[:, step].double(), expected, rtol=0, atol=2e-6)
    assert trajectories.latents.dtype == dtype


def test_without_a_reference_the_policys_log_probs_count_for_both():
    trajectories, _, _ = drawn(denoise_ref=None)

    assert torch.equal(trajectories.log_probs, trajectories.log_probs_ref)


def test_the_reference_is_evaluated_at_the_chosen_cells_alone_one_pass_per_run_of_images():
    calls = []

    def counted(x, *arguments):
        calls.append(len(x))
        return reference(x, *arguments)

    whole, _, _ = drawn(images=4)
    chosen = np.zeros((4, 5), dtype=bool)
    chosen[:, 1] = chosen[:2, 4] = chosen[3, 4] = True
    part, _, _ = drawn(images=4, denoise_ref=counted, reference_cells=chosen)

    assert calls == [4, 2, 1]
    assert torch.equal(part.latents, whole.latents)
    for values, everywhere in ((part.kl, whole.kl), (part.log_probs_ref, whole.log_probs_ref)):
        torch.testing.assert_close(values[chosen], everywhere[chosen])
        assert values[~chosen].isnan().all()


def test_the_kl_is_what_the_log_ratios_come_to_on_average_and_never_negative():
    trajectories, _, _ = drawn(images=4000)

    sampled = (trajectories.log_probs - trajectories.log_probs_ref).mean(dim=0)
    torch.testing.assert_close(sampled, trajectories.kl.mean(dim=0), rtol=0.1, atol=1e-3)
    assert (trajectories.kl > 0).all()


def test_an_image_does_not_depend_on_its_neighbours():
    together, noise, prompts = drawn()

    alone = draw(denoise, reference, noise[1:2], prompts[torch.tensor([1])], GRID)

    torch.testing.assert_close(alone.latents[0], together.latents[1], rtol=1e-6, atol=1e-6)


def noise_of(**changes):
    key = {"seed": 1, "stream": Stream.TRAINING, "epoch": 2, "prompt_id": "a", "image_index": 3} | changes
    return image_noise(image_generator(**key), 2, (1, 2, 2))


def test_noise_is_a_function_of_what_the_image_is():
    assert torch.equal(noise_of(), noise_of())


@pytest.mark.parametrize(
    "change", [{"seed": 2}, {"stream": Stream.EVALUATION}, {"epoch": 3}, {"prompt_id": "b"}, {"image_index": 4}]
)
def test_every_part_of_the_key_changes_the_noise(change):
    assert not torch.equal(noise_of(), noise_of(**change))


def test_images_whose_seeds_agree_in_32_bits_do_not_share_their_noise():
    # The first pair of this prompt whose 64-bit seeds have one lower half, which is all that torch's generator reads.
    assert not torch.equal(noise_of(image_index=107006), noise_of(image_index=224227))


def test_noise_is_standard_normal_float32():
    noise = image_noise(image_generator(0, Stream.TRAINING, 1, "a", 0), 15, (4, 64, 64))

    assert noise.shape == (16, 4, 64, 64)
    assert noise.dtype == torch.float32
    assert stats.kstest(noise.flatten().numpy(), "norm").pvalue > 0.01


def test_noise_is_pinned_for_ever():
    # A change of these numbers changes every run: raise NUMERICS in config/run.py if it is meant.
    np.testing.assert_allclose(noise_of()[0, 0, 0].numpy(), [-0.6578469, -1.745696], rtol=1e-6)


def test_the_order_of_cells_is_a_permutation_fixed_by_seed_epoch_and_update():
    order = cell_order(1, 2, 3, 50)

    assert sorted(order.tolist()) == list(range(50))
    assert torch.equal(order, cell_order(1, 2, 3, 50))
    assert not torch.equal(order, cell_order(1, 2, 4, 50))


@pytest.mark.parametrize(("share", "count"), [(0.001, 1), (0.1, 2), (0.25, 5), (0.35, 7), (1.0, 20)])
def test_a_share_of_groups_and_steps_is_chosen_for_the_reference_evenly_over_the_steps(share, count):
    chosen = reference_cells(7, 3, 8, 2, 5, share=share)  # 4 micro-batches

    assert chosen.shape == (8, 5)
    assert chosen.sum() == 2 * count
    assert (chosen[::2] == chosen[1::2]).all()
    assert np.ptp(chosen.sum(axis=0)) <= 2
    assert (chosen == reference_cells(7, 3, 8, 2, 5, share=share)).all()


def test_a_large_micro_batch_is_cut_into_groups_that_do_not_cross_into_the_next():
    # 2 micro-batches of 40 and one of 20: groups of 16, 16, 8, 16, 16, 8, 16, 4.
    every = [reference_cells(7, epoch, 100, 40, 3, share=1e-6) for epoch in range(200)]
    sizes = {int(each.sum()) for each in every}
    ends = np.flatnonzero(np.diff(sum(every).sum(axis=1)))

    assert sizes == {4, 8, 16}
    assert set(ends + 1) <= {16, 32, 40, 56, 72, 80, 96}


def test_over_epochs_every_cell_is_chosen_equally_often():
    epochs = 4000
    counts = sum(reference_cells(7, epoch, 4, 1, 5, share=0.1).astype(int) for epoch in range(epochs))

    assert np.abs(counts - 0.1 * epochs).max() < 4 * np.sqrt(epochs * 0.1 * 0.9)


def test_a_rollout_copies_its_grid_to_the_device_once_and_never_waits_for_it(transfers):
    counts = []
    for num_steps in (5, 10):
        grid = ddim_grid(alphas_cumprod(0.00085, 0.012, 1000, "scaled_linear"), num_steps)
        noise, prompts = torch.randn(2, num_steps + 1, 4, 8, 8), Conditioning(torch.randn(2, 2, 3))
        with transfers() as count:
            draw(denoise, reference, noise, prompts, grid)
        counts.append(dict(count))

    assert counts[0] == counts[1] == {"tables": 5, "waits": 0}
