"""How sure a mean is when images of one prompt resemble each other.

Notation: S images of G prompts, n_g images of prompt g, w_g = n_g / S; x is the value of an image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

FEWEST_PROMPTS = 20
"""From this many prompts on, they stand for the prompts that were not drawn; fewer are taken as given."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over images and the interval that covers the true one with the confidence asked for.

    `unit` says what was drawn at random. "prompts": the interval speaks of new prompts like these. "images": it speaks
    of new images of these very prompts. The bounds are infinite when a single image leaves no spread to measure.
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
    """How much larger `after` is than `before`, image by image.

    Args:
        before: [S] rewards under one policy.
        after: [S] rewards of the images drawn from the same noise under the other policy.
        prompt_ids: [S] the prompt of each image.
        confidence: in (0, 1), the share of such intervals that cover the true mean.

    Returns:
        The mean of after - before and its interval, in units of the reward.
    """
    return mean_interval(_differences(before, after), prompt_ids, confidence=confidence)


def mean_interval(values: ArrayLike, prompt_ids: Sequence[str], *, confidence: float = 0.95) -> Interval:
    """The mean over images and its interval, clustered by prompt (see `Interval` for what it speaks of).

    Args:
        values: [S] finite, one value for each image.
        prompt_ids: [S] the prompt of each image.
        confidence: in (0, 1).
    """
    x = _vector("values", values)
    _check(x, prompt_ids, confidence)
    _, prompt = np.unique(np.asarray(prompt_ids, dtype=np.str_), return_inverse=True)
    n = np.bincount(prompt)
    mean = float(x.mean())
    over_prompts = len(n) >= FEWEST_PROMPTS
    variance, freedom = _over_prompts(x, prompt, n) if over_prompts else _over_images(x, prompt, n)
    half_width = _half_width(variance, freedom, confidence) if x.any() else 0.0
    return Interval(mean, mean - half_width, mean + half_width, len(n), len(x), "prompts" if over_prompts else "images")


def win_rate(before: ArrayLike, after: ArrayLike) -> float:
    """Share of images whose reward rose, in [0, 1]; a tie counts half.

    Args:
        before: [S] rewards.
        after: [S] rewards of the same images under the other policy.
    """
    return float((np.sign(_differences(before, after)).mean() + 1) / 2)


def _over_prompts(x: NDArray[np.float64], prompt: NDArray[np.int_], n: NDArray[np.int_]) -> tuple[float, float]:
    """Variance of the mean when prompts are drawn, and its degrees of freedom.

        e_g = w_g (mean of x over prompt g - mean)
        variance = sum_g e_g^2 / (1 - w_g)
        freedom  = 1 / sum_g w_g^2 - 1

    With equal n_g it is the textbook interval of G means, G - 1 degrees of freedom. With unequal n_g, the factor makes
    it unbiased for independent images (CR2), and the freedom is that of Kish's effective number of prompts.

    Source: Bell and McCaffrey 2002, Survey Methodology 28(2); Kish 1965, Survey Sampling.
    """
    w = n / len(x)
    e = np.bincount(prompt, weights=x - x.mean()) / len(x)
    return float((e**2 / (1 - w)).sum()), float(1 / (w**2).sum() - 1)


def _over_images(x: NDArray[np.float64], prompt: NDArray[np.int_], n: NDArray[np.int_]) -> tuple[float, float]:
    """Variance of the mean when only images are drawn, stratified by prompt, and its degrees of freedom.

        s_g^2 = variance of x inside prompt g
        variance = sum_g v_g with v_g = w_g^2 s_g^2 / n_g
        freedom  = variance^2 / sum_g (v_g^2 / (n_g + 1)) - 2, at most S - G

    A prompt with one image has no s_g: then one s^2, pooled over the prompts, serves all. If every prompt has one
    image, s^2 is the variance of all of them, which holds the spread between prompts too and errs on the wide side.

    Source: Welch 1947, Biometrika 34; with n_g - 1 for n_g + 1 the interval is too wide at two images a prompt.
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

    # One prompt with nearly all images would leave less than one degree of freedom, where quantiles overflow.
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
        bad = np.flatnonzero(~np.isfinite(x))
        raise ValueError(f"{name} must be finite, got {x[bad[0]]} at image {bad[0]} ({len(bad)} such values)")
    return x


def _check(x: NDArray[np.float64], prompt_ids: Sequence[str], confidence: float) -> None:
    if len(prompt_ids) != len(x):
        raise ValueError(f"prompt_ids must be [S={len(x)}], one for each image, got {len(prompt_ids)}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, such as 0.95, got {confidence}")
