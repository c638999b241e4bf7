"""The first pictures of the page."""

import numpy as np

from reward_finetuning.report.comparison import compare
from reward_finetuning.report.pictures.reels import MOST_CARDS, reels, typical

ROOM = 1_000_000


def prompts_of(made):
    return {reel.name: [card.prompt for card in reel.cards] for reel in made}


def test_typical_pairs_are_of_the_prompts_nearest_to_the_median_change(make_samples):
    gains = [-9, 1, 2, 3, 4, 5, 6, 8, 50]
    names = [str(gain) for gain in gains]
    before, after = make_samples([0] * 9, prompts=names), make_samples(gains, prompts=names, epoch=1)

    made = prompts_of(reels(compare(before, after), before, after, num_bytes=ROOM))

    assert made["typical"][0] == "4"
    assert set(made["typical"]) == {"1", "2", "3", "4", "5", "6"}


def test_of_a_prompt_the_image_nearest_to_the_mean_is_shown(make_samples):
    samples = make_samples([0] * 6, images_per_prompt=3)

    rows, median = typical(samples, np.array([0.0, 10.0, 5.5, -1.0, 1.0, 0.1]))

    assert sorted(rows) == [2, 5]
    assert median == np.median([15.5 / 3, 0.1 / 3])


def test_the_worst_regressions_follow_and_no_reel_is_empty(make_samples):
    names = ["up", "down 1", "down 5", "same"]
    before = make_samples([0] * 4, prompts=names)
    mixed, better = (make_samples(new, prompts=names, epoch=1) for new in ([1, -1, -5, 0], [1, 1, 1, 1]))

    assert prompts_of(reels(compare(before, mixed), before, mixed, num_bytes=ROOM))["worst"] == ["down 5", "down 1"]
    assert list(prompts_of(reels(compare(before, better), before, better, num_bytes=ROOM))) == ["typical"]


def test_a_reel_has_few_pairs_and_stays_within_its_bytes(make_samples):
    before, after = make_samples([0] * 40), make_samples(range(-20, 20), epoch=1)

    (first, second) = reels(compare(before, after), before, after, num_bytes=ROOM)
    small = reels(compare(before, after), before, after, num_bytes=8_000)

    assert len(first.cards) == len(second.cards) == MOST_CARDS
    assert all(0 < len(reel.cards) < MOST_CARDS for reel in small)


def test_the_reels_do_not_depend_on_the_order_of_the_images(make_samples, permute):
    gains = np.random.default_rng(0).normal(size=40)
    before, after = make_samples([0] * 40, images_per_prompt=2), make_samples(gains, images_per_prompt=2, epoch=1)
    order = np.random.default_rng(1).permutation(40)
    shuffled = permute(before, order), permute(after, order)

    made = [reels(compare(*two), *two, num_bytes=ROOM) for two in ((before, after), shuffled)]

    assert prompts_of(made[0]) == prompts_of(made[1])
