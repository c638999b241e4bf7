import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from reward_finetuning.rewards.jpeg import jpeg_compressibility, jpeg_incompressibility

NOISE = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), dtype=np.uint8)
FLAT = np.full((2, 32, 48, 3), 128, dtype=np.uint8)


def test_the_score_is_the_size_of_a_file_in_thousands_of_bytes(tmp_path):
    path = tmp_path / "picture.jpg"
    Image.fromarray(NOISE[1]).save(path, quality=95)

    scores = jpeg_incompressibility(NOISE, ["a", "b"])

    assert scores.dtype == np.float64
    assert scores[1] == path.stat().st_size / 1000


def test_compressibility_is_the_negative():
    assert (jpeg_compressibility(NOISE, ["a", "b"]) == -jpeg_incompressibility(NOISE, ["a", "b"])).all()


def test_noise_is_harder_to_compress_than_a_flat_picture():
    assert (jpeg_incompressibility(NOISE, ["a", "b"]) > 3 * jpeg_incompressibility(FLAT, ["a", "b"])).all()


def test_a_lower_quality_would_be_a_smaller_file():
    file = BytesIO()
    Image.fromarray(NOISE[0]).save(file, "JPEG", quality=75)

    assert file.tell() / 1000 < jpeg_incompressibility(NOISE[:1], ["a"])[0] * 0.8


@pytest.mark.parametrize("images", [NOISE.astype(np.float32), NOISE[..., 0], NOISE[:1]])
def test_what_is_no_batch_of_pictures_is_refused(images):
    with pytest.raises(ValueError, match=r"images must be uint8 \[B=2, H, W, 3\]"):
        jpeg_incompressibility(images, ["a", "b"])


def test_no_model_library_is_imported():
    program = """
import sys, numpy
from reward_finetuning.config.sections.reward import RewardConfig
from reward_finetuning.rewards.scorer import load_scorers
load_scorers(RewardConfig(weights={"jpeg_compressibility": 1}))["jpeg_compressibility"](
    numpy.zeros((1, 8, 8, 3), numpy.uint8), ["a"])
print([name for name in ("torch", "transformers", "diffusers") if name in sys.modules])
"""

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
