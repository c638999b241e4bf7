"""What the packages' own transforms make of pictures; run in the scorer environment: official_pixels.py FOLDER.

For each NNNN.npy it writes NNNN.image_reward.npy and NNNN.hpsv2.npy, float32 [3, 224, 224].
"""

import sys
from importlib import import_module
from pathlib import Path

import numpy as np
from PIL import Image

from reward_finetuning.rewards.official.torchvision_shim import declare_missing_operators

declare_missing_operators()
for name in ("clip", "ImageReward.ReFL"):
    sys.modules.setdefault(name, type(sys)(name)).__dict__.setdefault("__all__", [])
transforms = {
    "image_reward": import_module("ImageReward.ImageReward")._transform(224),
    "hpsv2": import_module("hpsv2.src.open_clip.transform").image_transform(
        224, is_train=False, resize_longest_max=True
    ),
}
for path in sorted(Path(sys.argv[1]).glob("[0-9]*.npy")):
    image = Image.fromarray(np.load(path))
    for name, transform in transforms.items():
        np.save(path.with_suffix(f".{name}.npy"), transform(image).numpy())
