"""The published weights of each reward model: repository, size and licence.

This project has not downloaded the weights. Repositories, revisions, sizes and licences are taken from public
repositories of third parties that pin them. Files are therefore checked when they are read: the names and shapes of all
tensors, the length of the vocabulary, the logit scale, and the sha256 if it is listed here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of the Hugging Face hub at one commit."""

    name: str
    revision: str | None
    """Commit; None if no commit is published. Every file then has a sha256."""
    licence: str


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A published file."""

    name: str
    repository: Repository
    size: int
    """Bytes; round values are estimates."""
    sha256: str | None = None
    also: tuple[str, ...] = ()
    """Other names of the same file in a folder."""
    package: str | None = None
    """Path below site-packages, if the file is part of a Python package and not on the hub."""

    @property
    def is_weights(self) -> bool:
        """Whether the file contains tensors, and not a vocabulary or a config."""
        return PurePath(self.name).suffix in {".safetensors", ".pt", ".pth", ".bin"}

    @property
    def converted(self) -> str:
        """Name after conversion to safetensors; unchanged for files that are not weights."""
        return PurePath(self.name).with_suffix(".safetensors").name if self.is_weights else self.name

    @property
    def names(self) -> tuple[str, ...]:
        """Possible names of the file in a folder, in order of preference."""
        return tuple(dict.fromkeys((self.converted, self.name, *self.also)))


@dataclass(frozen=True, slots=True)
class Model:
    """The files of a scorer."""

    scorer: str
    files: dict[str, PublishedFile]
    """By role: weights, head, config, vocabulary, merges, instruction."""
    note: str = ""

    @property
    def repository(self) -> Repository:
        """Repository of the weights; `source` and `revision` of a config override it."""
        return self.files["weights"].repository


_PICKSCORE = Repository(
    "yuvalkirstain/PickScore_v1", "a4e4367c6dfa7288a00c550414478f865b875800", "none stated (code: MIT)"
)
_CLIP_H = Repository("laion/CLIP-ViT-H-14-laion2B-s32B-b79K", "1c2b8495b28150b8a4922ee1c8edee224c284c0c", "MIT")
_CLIP_L = Repository(
    "openai/clip-vit-large-patch14",
    "32bd64288804d66eefd0ccbe215aa642df71cc41",
    "none stated (code: MIT; its card calls deployed use out of scope)",
)
_HPSV2 = Repository("xswu/HPSv2", "697403c78157020a1ae59d23f111aa58ced35b0a", "Apache-2.0")
_IMAGE_REWARD = Repository("zai-org/ImageReward", "5736be03b2652728fb87788c9797b0570450ab72", "Apache-2.0")
_BERT = Repository("google-bert/bert-base-uncased", "86b5e0934494bd15c9632b12f734a8a67f723594", "Apache-2.0")
_HPSV3 = Repository("MizzenAI/HPSv3", "4f81e3e09edd82fe3c5f636444c721b592a735ca", "none checked (code: MIT)")
_QWEN2_VL = Repository("Qwen/Qwen2-VL-7B-Instruct", "eed13092ef92e448dd6875b2a00151bd3f7db0ac", "Apache-2.0")
_HPSV3_PACKAGE = Repository("hpsv3==1.0.0", None, "MIT")
# A mirror of christophschuhmann/improved-aesthetic-predictor on GitHub. The sha256 is that of the original file.
_AESTHETIC = Repository(
    "trl-lib/ddpo-aesthetic-predictor", None, "Apache-2.0 (trained on AVA, SAC and LOGOS: research data)"
)

_CLIP_H_TEXT = {
    "vocabulary": PublishedFile("vocab.json", _CLIP_H, 900_000),
    "merges": PublishedFile("merges.txt", _CLIP_H, 500_000),
}
_CLIP_L_FILES = {
    "weights": PublishedFile("model.safetensors", _CLIP_L, 1_710_000_000, also=("pytorch_model.bin",)),
    "config": PublishedFile("config.json", _CLIP_L, 5_000),
}
_CLIP_L_TEXT = {
    "vocabulary": PublishedFile("vocab.json", _CLIP_L, 1_000_000),
    "merges": PublishedFile("merges.txt", _CLIP_L, 500_000),
}

MODELS: dict[str, Model] = {
    model.scorer: model
    for model in (
        Model(
            "pickscore",
            {
                "weights": PublishedFile("model.safetensors", _PICKSCORE, 3_944_000_000, also=("pytorch_model.bin",)),
                "config": PublishedFile("config.json", _PICKSCORE, 5_000),
                **_CLIP_H_TEXT,
            },
        ),
        Model(
            "hpsv2",
            {"weights": PublishedFile("HPS_v2_compressed.pt", _HPSV2, 1_972_000_000), **_CLIP_H_TEXT},
            "v2.0; the scores in PRDP's table match this version",
        ),
        Model(
            "hpsv2_1",
            {"weights": PublishedFile("HPS_v2.1_compressed.pt", _HPSV2, 1_972_000_000), **_CLIP_H_TEXT},
            "v2.1; its scores are not comparable with v2.0",
        ),
        Model(
            "image_reward",
            {
                "weights": PublishedFile("ImageReward.pt", _IMAGE_REWARD, 1_786_880_927),
                "vocabulary": PublishedFile("vocab.txt", _BERT, 200_000),
            },
        ),
        Model(
            "aesthetic",
            {
                **_CLIP_L_FILES,
                "head": PublishedFile(
                    "aesthetic-model.pth",
                    _AESTHETIC,
                    3_714_759,
                    sha256="21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0",
                    also=("sac+logos+ava1-l14-linearMSE.safetensors", "sac+logos+ava1-l14-linearMSE.pth"),
                ),
            },
        ),
        Model("clip_score", {**_CLIP_L_FILES, **_CLIP_L_TEXT}),
        # The last one: what is fetched without a name has the others before it needs the package.
        Model(
            "hpsv3",
            {
                # The text that asks for a score is published in the code alone. First, so that a missing package is
                # known before 17 GB are downloaded.
                "instruction": PublishedFile(
                    "data_collator_qwen.py",
                    _HPSV3_PACKAGE,
                    8_574,
                    sha256="b0f936e89f8df652c67d470412e1d9afd27aa711dec85724c19989ac91e7a3e3",
                    package="hpsv3/dataset/data_collator_qwen.py",
                ),
                "weights": PublishedFile("HPSv3.safetensors", _HPSV3, 16_600_000_000),
                "config": PublishedFile("config.json", _QWEN2_VL, 1_200),
                "vocabulary": PublishedFile("tokenizer.json", _QWEN2_VL, 7_000_000),
            },
            "v3, Qwen2-VL-7B; needs about 17 GB in bfloat16",
        ),
    )
}
