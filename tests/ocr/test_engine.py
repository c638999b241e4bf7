"""The OCR scorer with its real engine (make test-ocr): text that is drawn is read."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from reward_finetuning.config.sections.reward import RewardConfig
from reward_finetuning.rewards.scorer import load_scorers, scorer_digests

CONFIG = RewardConfig(weights={"ocr": 1.0})


def sign(text, colour="black", ground="white"):
    image = Image.new("RGB", (512, 256), ground)
    ImageDraw.Draw(image).text((30, 80), text, fill=colour, font=ImageFont.load_default(56))
    return np.asarray(image)


def test_drawn_text_is_read_and_other_text_scores_less():
    images = np.stack([sign("OPEN DAILY"), sign("OPEN DAILY", "red", "navy"), sign("OPEN DARLY"), sign("")])

    scores = load_scorers(CONFIG)["ocr"](images, ['a sign that reads "Open daily"'] * 4)

    assert scores[:2].tolist() == [1.0, 1.0]
    assert 0.5 < scores[2] < 1.0
    assert scores[3] == 0.0
    assert scorer_digests(CONFIG)["reward.ocr.digest"]
