"""Confidence intervals of a mean over images that are correlated within a prompt.

Notation: S images of G prompts, n_g images of prompt g, w_g = n_g / S; x is the value of an image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

FEWEST_PROMPTS = 20
"""With at least this many prompts, prompts are treated as a random sample; fewer prompts are treated as fixed."""

RESAMPLES = 999
"""Of the studentised bootstrap; drawn from a fixed seed, so that a report is the same every time."""

_CELLS_AT_ONCE = 1 << 20
"""Prompts times resamples in memory."""

WIDEST = 5.0
"""A bound is at most this many times as far from the mean as Student's: a resample whose prompts are nearly all alike
has a t without meaning."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over images, and an interval that covers the true mean with the given confidence.

    `unit` is the random unit. With "prompts", the interval applies to new prompts of the same kind. With "images", it
    applies to new images of the same prompts. The bounds are infinite if there is only one image.
    """

    mean: float
    low: float
    high: float
    num_prompts: int
    num_images: int
    unit: Literal["prompts", "images"]


def paired_difference(
    before: ArrayLike, after: ArrayLike, prompt_ids: Sequence[str], *, confidence: float = 0.95
) -> Interval:
    """The mean of after - before, image by image, with its interval.

    Args:
        before: [S] rewards under one policy.
        after: [S] rewards of the images from the same noise under the other policy.
        prompt_ids: [S] the prompt of each image.
        confidence: in (0, 1), the share of such intervals that cover the true mean.

    Returns:
        The mean of after - before and its interval, in units of the reward.
    """
    return mean_interval(_differences(before, after), prompt_ids, confidence=confidence)


def mean_interval(values: ArrayLike, prompt_ids: Sequence[str], *, confidence: float = 0.95) -> Interval:
    """The mean over images and its interval, clustered by prompt (see `Interval`).

    Args:
        values: [S] finite, one value per image.
        prompt_ids: [S] the prompt of each image.
        confidence: in (0, 1).
    """
    x = _vector("values", values)
    _check(x, prompt_ids, confidence)
    _, prompt = np.unique(np.asarray(prompt_ids, dtype=np.str_), return_inverse=True)
    n = np.bincount(prompt)
    mean = float(x.mean())
    random_prompts = len(n) >= FEWEST_PROMPTS
    if not x.any():
        below = above = 0.0
    elif random_prompts:
        below, above = _over_prompts(x, prompt, n, confidence)
    else:
        below = above = _half_width(*_over_images(x, prompt, n), confidence)
    return Interval(mean, mean - below, mean + above, len(n), len(x), "prompts" if random_prompts else "images")


def win_rate(before: ArrayLike, after: ArrayLike) -> float:
    """Share of images whose reward rose, in [0, 1]; a tie counts half.

    Args:
        before: [S] rewards.
        after: [S] rewards of the same images under the other policy.
    """
    return float((np.sign(_differences(before, after)).mean() + 1) / 2)


def _over_prompts(
    x: NDArray[np.float64], prompt: NDArray[np.int_], n: NDArray[np.int_], confidence: float
) -> tuple[float, float]:
    """Distances of the lower and the upper bound from the mean, for random prompts.

        e_g = w_g (mean of x over prompt g - mean)
        variance = sum_g e_g^2 / (1 - w_g)
        freedom  = 1 / sum_g w_g^2 - 1
        t* = (mean* - mean) / sqrt(variance*)      of prompts drawn anew, with replacement

    Each bound is the outer one of two. Student's is exact for symmetric values: with equal n_g it is the standard
    interval of G means; with unequal n_g the factor 1 / (1 - w_g) makes the variance unbiased for independent images
    (CR2), and the degrees of freedom, of Kish's effective number of prompts, agree with Satterthwaite's. The quantiles
    of t* follow a skewed distribution. Assumptions: prompts are independent draws from one distribution of finite
    variance, and no prompt has most of the images.

    Source: Bell and McCaffrey 2002, Survey Methodology 28(2); Kish 1965, Survey Sampling; Efron 1981, Canadian Journal
    of Statistics 9(2); Cameron, Gelbach and Miller 2008, Review of Economics and Statistics 90(3).
    """
    w = n / len(x)
    sums = np.bincount(prompt, weights=x - x.mean()).astype(np.float64)
    variance = float(((sums / len(x)) ** 2 / (1 - w)).sum())
    students = _half_width(variance, float(1 / (w**2).sum() - 1), confidence)
    if not variance:
        return students, students
    t = _resampled_t(sums, n, np.sqrt(variance))
    low, high = np.sqrt(variance) * np.quantile(t, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(np.clip(high, students, WIDEST * students)), float(np.clip(-low, students, WIDEST * students))


def _resampled_t(sums: NDArray[np.float64], n: NDArray[np.int_], error: float) -> NDArray[np.float64]:
    """t* [RESAMPLES] of prompts with centred `sums` [G] and `n` [G] images; a spread of nearly 0 is set to a floor."""
    rng = np.random.default_rng(0)
    at_once = max(1, _CELLS_AT_ONCE // len(n))
    parts = []
    for start in range(0, RESAMPLES, at_once):
        drawn = rng.integers(0, len(n), (min(at_once, RESAMPLES - start), len(n)))
        images = n[drawn].sum(axis=1, keepdims=True)
        means, w = sums[drawn].sum(axis=1, keepdims=True) / images, n[drawn] / images
        variances = ((sums[drawn] / images - w * means) ** 2 / (1 - w)).sum(axis=1)
        parts.append(means[:, 0] / np.maximum(np.sqrt(variances), 1e-6 * error))
    return np.concatenate(parts)


def _over_images(x: NDArray[np.float64], prompt: NDArray[np.int_], n: NDArray[np.int_]) -> tuple[float, float]:
    """Variance of the mean for random images of fixed prompts, stratified by prompt, and its degrees of freedom.

        s_g^2 = variance of x inside prompt g
        variance = sum_g v_g with v_g = w_g^2 s_g^2 / n_g
        freedom  = variance^2 / sum_g (v_g^2 / (n_g + 1)) - 2, at most S - G

    A prompt with one image has no s_g. In this case one s^2, pooled over all prompts, is used. If every prompt has one
    image, s^2 is the variance of all images. It includes the spread between prompts, so the interval is too wide.

    Source: Welch 1947, Biometrika 34. With n_g - 1 instead of n_g + 1, the interval is too wide for two images per
    prompt.
    """
    strata = len(n)
    squares = np.bincount(prompt, weights=(x - (np.bincount(prompt, weights=x) / n)[prompt]) ** 2)
    if n.min() >= 2:
        parts = (n / len(x)) ** 2 * squares / (n - 1) / n
        variance = float(parts.sum())
        freedom = float(variance**2 / (parts**2 / (n + 1)).sum()) - 2 if variance else 1.0
        return variance, min(freedom, len(x) - strata)
    if len(x) > strata:
        return float(squares.sum()) / (len(x) - strata) / len(x), len(x) - strata
    return (float(x.var(ddof=1)) / len(x), len(x) - 1) if len(x) > 1 else (np.inf, 1)


def _half_width(variance: float, freedom: float, confidence: float) -> float:
    from scipy.special import stdtrit

    # If one prompt has nearly all images, there is less than one degree of freedom, and quantiles overflow.
    return float(stdtrit(max(freedom, 1.0), (1 + confidence) / 2) * np.sqrt(variance))


def _differences(before: ArrayLike, after: ArrayLike) -> NDArray[np.float64]:
    b, a = _vector("before", before), _vector("after", after)
    if len(b) != len(a):
        raise ValueError(f"before and after must hold the same images, got {len(b)} and {len(a)} values")
    return a - b


def _vector(name: str, values: ArrayLike) -> NDArray[np.float64]:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or not len(x):
        raise ValueError(f"{name} must be [S] with at least one image, got shape {list(x.shape)}")
    if not np.isfinite(x).all():
        invalid = np.flatnonzero(~np.isfinite(x))
        raise ValueError(
            f"{name} must be finite, got {x[invalid[0]]} at image {invalid[0]} ({len(invalid)} such values)"
        )
    return x


def _check(x: NDArray[np.float64], prompt_ids: Sequence[str], confidence: float) -> None:
    if len(prompt_ids) != len(x):
        raise ValueError(f"prompt_ids must be [S={len(x)}], one per image, got {len(prompt_ids)}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, for example 0.95, got {confidence}")
