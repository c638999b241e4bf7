"""Proximal preference optimisation for diffusion models (PPOD).

For a pair of images of one prompt, winner w and loser l, with the log-ratio of a step to the reference
rho_t = l_t - lr_t (l the mean over C, H, W) and eps the clip range:

    z = kl_weight sum_t ( clip(rho^w_t, -eps, eps) - clip(rho^l_t, -eps, eps) )
    L = mean over pairs of  -log sigma(z)                cross_entropy, the paper's
                            (1 - sigma(z))^2             brier
                            (z - (r_w - r_l))^2          reward_difference

The clip is around the reference, without a maximum: a step that has left the band has no gradient and does not come
back. So the share of steps inside it, the live ones, is worth watching from stage to stage. The paper's "MSE" has no
formula in it; the last two are the readings of it on offer. Its eq. 8 repeats x^w where x^l is meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

import numpy as np
import torch
from torch import Tensor

from reward_finetuning.config.errors import TrainingError
from reward_finetuning.config.sections.objective import PpodConfig
from reward_finetuning.objectives.cells import CellSource
from reward_finetuning.objectives.pairs import Pairs, all_pairs, draw_pairs, split_rows
from reward_finetuning.objectives.protocol import Look, Objective
from reward_finetuning.records import Batch


def pair_loss(z: Tensor, reward_gap: Tensor, loss: str) -> Tensor:
    """Loss of each pair at margin `z` [M]; `reward_gap` [M] is r_w - r_l > 0. Returns [M]."""
    match loss:
        case "cross_entropy":
            return torch.nn.functional.softplus(-z)
        case "brier":
            return torch.sigmoid(-z) ** 2
        case _:
            return (z - reward_gap) ** 2


def pair_slope(z: Tensor, reward_gap: Tensor, loss: str) -> Tensor:
    """dL/dz of `pair_loss`, [M]."""
    match loss:
        case "cross_entropy":
            return -torch.sigmoid(-z)
        case "brier":
            return -2 * torch.sigmoid(-z) ** 2 * torch.sigmoid(z)
        case _:
            return 2 * (z - reward_gap)


def margins(log_ratios: Tensor, pairs: Pairs, *, kl_weight: float, clip_range: float = float("inf")) -> Tensor:
    """z [M] of pairs of images with `log_ratios` rho [B, T], nats per latent element."""
    s = kl_weight * log_ratios.clamp(-clip_range, clip_range).sum(dim=1)
    return s[pairs.winners] - s[pairs.losers]


def ppod_grad(
    log_ratios: Tensor, rewards: Tensor, pairs: Pairs, *, loss: str, kl_weight: float, clip_range: float
) -> Tensor:
    """dL/dlog_probs in closed form.

        g_it = 1/M  sum over pairs that hold i of  +-L'(z) kl_weight m_it,   + for the winner, - for the loser
        m_it = 1[|rho_it| <= eps]

    Args:
        log_ratios: [B, T] rho, float64.
        rewards: [B].
        pairs: M.
        loss: see `pair_loss`.
        kl_weight: eta > 0.
        clip_range: eps > 0; infinity switches clipping off.

    Returns:
        [B, T]; 0 for images of no pair.
    """
    z = margins(log_ratios, pairs, kl_weight=kl_weight, clip_range=clip_range)
    slope = pair_slope(z, rewards[pairs.winners] - rewards[pairs.losers], loss) * kl_weight / len(z)
    of_image = torch.zeros(len(log_ratios), dtype=log_ratios.dtype)
    of_image = of_image.index_add(0, pairs.winners, slope).index_add(0, pairs.losers, -slope)
    live = log_ratios.abs() <= clip_range
    return torch.where(live, of_image[:, None], 0.0)  # not a product: rows that were not replayed hold NaN


class Ppod(Objective):
    """PPOD as an Objective; an epoch is a stage."""

    separable_by = "prompt"

    def __init__(self, config: PpodConfig) -> None:
        self._config = config
        self.clip_range = config.clip_range if config.clipping else float("inf")
        self._images = torch.zeros(0, dtype=torch.uint8)  # digest of what is trained on
        self._accuracies: list[float] = []  # on its held-out pairs, look by look

    def begin_epoch(self, batch: Batch, source: CellSource, rng: np.random.Generator) -> None:
        """Hold images out for the convergence check; `source` is not needed.

        A further pass over the same images (offline) holds out the same ones and continues to count; other images begin
        a stage of their own.
        """
        self._rng, self._batch = rng, batch
        images = _digest(batch)
        if not torch.equal(images, self._images):
            self._images, self._accuracies = images, []
        self._train, self._heldout = torch.arange(len(batch.rewards)), Pairs(*torch.zeros(2, 0, dtype=torch.int64))
        if self._config.convergence:
            of_images = np.random.default_rng(images.tolist())
            self._train, rows = split_rows(batch.prompt_index, self._config.convergence.heldout_share, of_images)
            self._heldout = all_pairs(batch.rewards, batch.prompt_index, rows)
        self._first_live_share: float | None = None

    def begin_update(self, update: int) -> Tensor:
        """Draw the update's pairs; only their images are looked at."""
        del update  # the generator moves on by itself
        batch = self._batch
        self._pairs = draw_pairs(
            batch.rewards, batch.prompt_index, self._train, self._config.pairs_per_update, self._rng
        )
        return self._pairs.rows

    def gradient_unit(self, num_steps: int, num_elements: int) -> float:
        """C H W / eta: the gradient is then one of log-probs of whole trajectories, in nats; z sums over T already."""
        return num_elements / self._config.kl_weight

    def reference_weight(self, num_steps: int, num_elements: int) -> float | None:
        """eta T where z = eta T (s_w - s_l) to the pretrained model is fitted to rewards; else None."""
        config = self._config
        is_weighed = config.loss == "reward_difference" and config.reference == "pretrained"
        return config.kl_weight * num_steps if is_weighed else None

    def coefficients(self, log_probs: Tensor, batch: Batch) -> Tensor:
        """g [B, T] float64.

        Raises:
            TrainingError: every step of the update's images has left the band: there is no gradient any more.
        """
        rows = self._pairs.rows
        if not (self._log_ratios(log_probs, batch)[rows].abs() <= self.clip_range).any():
            raise TrainingError(
                f"no step of the {len(rows)} images is within clip_range={self.clip_range:g} of the "
                "reference: nothing can be learnt; raise it, or set objective.reference: stage_start"
            )
        g = torch.zeros(log_probs.shape, dtype=torch.float64)
        g[rows] = self.prompt_coefficients(log_probs[rows], rows, batch)
        return g

    def prompt_coefficients(self, log_probs: Tensor, rows: Tensor, batch: Batch) -> Tensor:
        """g [R, T] float64 of all images of some prompts that the update's pairs hold."""
        part, pairs = batch.of_rows(rows), self._pairs.among(rows)
        g = ppod_grad(
            self._log_ratios(log_probs, part),
            part.rewards,
            pairs,
            loss=self._config.loss,
            kl_weight=self._config.kl_weight,
            clip_range=self.clip_range,
        )
        return g * (len(pairs.winners) / len(self._pairs.winners))  # a mean over all pairs of the update

    def metrics(self, log_probs: Tensor, batch: Batch) -> Mapping[str, float]:
        """Loss and accuracy on the update's pairs; share of live steps, now and at the stage's first update."""
        ratios = self._log_ratios(log_probs, batch)
        pairs, weight = self._pairs, self._config.kl_weight
        z = margins(ratios, pairs, kl_weight=weight, clip_range=self.clip_range)
        gap = batch.rewards[pairs.winners] - batch.rewards[pairs.losers]
        live = float((ratios[pairs.rows].abs() <= self.clip_range).double().mean())
        self._first_live_share = live if self._first_live_share is None else self._first_live_share
        return {
            "loss": float(pair_loss(z, gap, self._config.loss).mean()),
            "pair_accuracy": accuracy(margins(ratios, pairs, kl_weight=weight)),
            "live_share": live,
            "live_share_at_start": self._first_live_share,
            "clip_fraction": 1.0 - live,
        }

    def heldout_rows(self, num_updates: int, *, is_last: bool) -> Tensor | None:
        """Images of the held-out pairs: before the first update, every `check_every` updates and after the last."""
        if self._config.convergence is None or not len(self._heldout.winners):
            return None
        due = num_updates % self._config.convergence.check_every == 0 or is_last
        return self._heldout.rows if due else None

    def look(self, log_probs: Tensor, batch: Batch) -> Look:
        """Accuracy on held-out pairs, by the unclipped z; the stage ends after `patience` looks without a new best."""
        assert self._config.convergence is not None
        ratios = self._log_ratios(log_probs, batch)
        self._accuracies.append(accuracy(margins(ratios, self._heldout, kl_weight=self._config.kl_weight)))
        newest, best = len(self._accuracies) - 1, int(np.argmax(self._accuracies))
        ends_epoch = newest - best >= self._config.convergence.patience
        return Look(self._accuracies[newest], is_best=best == newest, ends_epoch=ends_epoch)

    def state_dict(self) -> dict[str, Tensor]:
        """Digest of the images and accuracies on their held-out pairs; nothing where convergence is not looked for."""
        if self._config.convergence is None:
            return {}
        return {"images": self._images, "accuracies": torch.tensor(self._accuracies, dtype=torch.float64)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state_dict`."""
        if state:
            self._images, self._accuracies = state["images"], state["accuracies"].tolist()

    def _log_ratios(self, log_probs: Tensor, batch: Batch) -> Tensor:
        reference = batch.log_probs_ref if self._config.reference == "pretrained" else batch.log_probs_old
        return log_probs.double() - reference.double()


def _digest(batch: Batch) -> Tensor:
    """32 bytes that tell these images from others: their prompts, rewards and first log-probs."""
    parts = (batch.prompt_keys, batch.rewards, batch.log_probs_old)
    digest = sha256(b"".join(part.contiguous().numpy().tobytes() for part in parts))
    return torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8)


def accuracy(z: Tensor) -> float:
    """Share of pairs whose winner the policy prefers; an undecided pair counts half."""
    return float(((z > 0).double() + 0.5 * (z == 0).double()).mean())
