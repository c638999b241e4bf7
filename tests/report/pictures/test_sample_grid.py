import numpy as np
from PIL import Image

from reward_finetuning.report.pictures.sample_grid import write_grid


def test_tiles_lie_row_by_row_one_a_prompt(tmp_path):
    images = np.stack([np.full((100, 100, 3), value, dtype=np.uint8) for value in (10, 11, 20, 30, 40, 50)])

    write_grid(images, ["a", "a", "b", "c", "d", "e"], 5, tmp_path / "grid.png")

    picture = np.asarray(Image.open(tmp_path / "grid.png"))
    centres = [[int(picture[51 + 102 * y, 51 + 102 * x, 0]) for x in range(3)] for y in range(2)]
    assert centres == [[10, 20, 30], [40, 50, 255]]


def test_small_pictures_are_enlarged_without_smoothing(tmp_path):
    images = np.arange(2 * 32 * 32 * 3, dtype=np.uint32).reshape(2, 32, 32, 3).astype(np.uint8)

    write_grid(images, ["a", "b"], 2, tmp_path / "grid.png")

    picture = np.asarray(Image.open(tmp_path / "grid.png"))
    assert picture.shape == (98, 196, 3)
    assert (picture[1:97:3, 1:97:3] == images[0]).all()
