import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward_finetuning.config import UserError
from reward_finetuning.config.sections.reward import RewardConfig
from reward_finetuning.rewards import ocr
from reward_finetuning.rewards.scorer import check_prompts, check_scorers

TEXTS = st.text(alphabet="abc", max_size=6)


@pytest.mark.parametrize(
    ("recognised", "target", "score"),
    [
        ("Open 24 HOURS", "open 24 hours", 1.0),
        ("xx OPEN yy", "open", 1.0),
        ("OPFN", "open", 0.75),
        ("", "open", 0.0),
        ("something else entirely", "open", 0.0),
    ],
)
def test_the_score_is_one_minus_the_share_of_wrong_characters(recognised, target, score):
    assert ocr.text_match(recognised, target) == score


@given(TEXTS, TEXTS, TEXTS)
def test_the_edit_distance_is_a_metric(a, b, c):
    assert (ocr.edit_distance(a, b) == 0) == (a == b)
    assert ocr.edit_distance(a, b) == ocr.edit_distance(b, a)
    assert ocr.edit_distance(a, c) <= ocr.edit_distance(a, b) + ocr.edit_distance(b, c)


@given(TEXTS, TEXTS)
def test_the_edit_distance_agrees_with_its_recursive_definition(a, b):
    def distance(a, b):
        if not a or not b:
            return len(a) + len(b)
        if a[0] == b[0]:
            return distance(a[1:], b[1:])
        return 1 + min(distance(a[1:], b), distance(a, b[1:]), distance(a[1:], b[1:]))

    assert ocr.edit_distance(a[:4], b[:4]) == distance(a[:4], b[:4])


@pytest.mark.parametrize(
    ("prompt", "target"),
    [('a sign "OPEN" above "24 h"', "OPEN 24 h"), ("a “neon” sign", "neon"), ("it's a dog's bone", "")],
)
def test_the_target_is_the_text_in_double_quotes(prompt, target):
    assert ocr.quoted(prompt) == target


def test_each_picture_is_compared_with_its_own_prompt():
    texts = {1: "OPEN", 2: "closed"}
    images = np.stack([np.full((2, 2, 3), level, dtype=np.uint8) for level in texts])

    scores = ocr._scorer(lambda image: texts[int(image[0, 0, 0])])(images, ['"open"', '"open"'])

    assert scores[0] == 1.0 > scores[1]


def test_prompts_without_quotes_are_refused_before_any_picture():
    with pytest.raises(UserError, match=r"scorer ocr cannot judge 1 of 2 prompts of p.txt, .*'a cat' has no text in"):
        check_prompts(RewardConfig(weights={"ocr": 1.0}), "p.txt", ['a sign "OPEN"', "a cat"])


def test_without_the_engine_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(ocr, "find_spec", lambda name: None)

    with pytest.raises(UserError, match=r"pip install 'reward-finetuning\[ocr\]'"):
        check_scorers(RewardConfig(weights={"ocr": 1.0}))


def test_it_has_no_settings():
    with pytest.raises(UserError, match=r"reward.scorers.ocr has no source"):
        check_scorers(RewardConfig(weights={"ocr": 1.0}, scorers={"ocr": {"source": "weights"}}))
