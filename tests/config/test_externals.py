import types
import typing

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from reward_finetuning.config import EvaluationRun, RunConfig
from reward_finetuning.config.externals import EXTERNALS, external_settings, replace_external

NAMES_NOTHING_OUTSIDE = {
    "model.revision",  # a part of the hub id
    "model.variant",
    "model.lora.targets.*",
    "reward.scorers.*.chat.model",
    "reward.scorers.*.chat.question",
    "reward.scorers.*.chat.score_pattern",
    "reward.scorers.*.revision",
    "promotion.improve_on.*",
    "promotion.keep_on.*",
    "tracking.experiment",
}
"""Free text that is no file, folder, bucket, hub id or address."""


def free_texts(annotation, path=(), metadata=()):
    """Dotted patterns of the settings that hold free text: any `str` without a pattern of its own and no choice."""
    if typing.get_origin(annotation) is typing.Annotated:
        inner, *more = typing.get_args(annotation)
        yield from free_texts(inner, path, (*metadata, *more))
    elif typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        for part in typing.get_args(annotation):
            yield from free_texts(part, path, metadata)
    elif typing.get_origin(annotation) is dict:
        yield from free_texts(typing.get_args(annotation)[1], (*path, "*"))
    elif typing.get_origin(annotation) is tuple:
        for part in {*typing.get_args(annotation)} - {Ellipsis}:
            yield from free_texts(part, (*path, "*"))
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            yield from free_texts(field.annotation, (*path, name), tuple(field.metadata))
    elif annotation is str and not _has_pattern(metadata):
        yield ".".join(path)


def _has_pattern(metadata):
    inner = [more for each in metadata for more in (each.metadata if isinstance(each, FieldInfo) else [each])]
    return any(getattr(each, "pattern", None) for each in inner)


@pytest.mark.parametrize("model", [RunConfig, EvaluationRun])
def test_every_setting_of_free_text_is_in_the_table_or_names_nothing_outside(model):
    assert set(free_texts(model)) - {row.key for row in EXTERNALS} <= NAMES_NOTHING_OUTSIDE


def test_every_row_of_the_table_is_a_setting():
    settings = {*free_texts(RunConfig), *free_texts(EvaluationRun)}

    assert {row.key for row in EXTERNALS} <= settings
    assert settings >= NAMES_NOTHING_OUTSIDE


def test_a_new_setting_of_a_section_is_noticed():
    class Extended(RunConfig):
        cache_folder: str | None = None

    assert "cache_folder" in {*free_texts(Extended)} - {row.key for row in EXTERNALS} - NAMES_NOTHING_OUTSIDE


RUN = RunConfig.model_validate(
    {
        "name": "a",
        "model": {"source": "models/a", "trainable": "lora", "adapter": "adapters/b.safetensors"},
        "warm_start": {"run_directory": "runs/b", "epoch": 1},
        "evaluation": {"prompt_sets": {"x.y": "sets/x.txt", "z": "shapes:train"}},
        "reward": {
            "weights": {"pickscore": 1.0, "far": 1.0, "own": 1.0},
            "scorers": {"pickscore": {"source": "w"}, "far": {"url": "http://h"}, "own": {"use": "m:f"}},
        },
    }
)
EVALUATION = EvaluationRun.model_validate({"name": "e", "policies": [{}, {"run": "runs/one"}]})


def test_settings_within_mappings_and_lists_are_named_with_their_keys_and_digests():
    of_run = {setting.key: (setting.value, setting.digest) for setting in external_settings(RUN)}
    of_evaluation = {setting.key: setting.value for setting in external_settings(EVALUATION)}

    assert of_run == {
        "run_root": ("runs", ""),
        "model.source": ("models/a", "model.digest"),
        "model.adapter": ("adapters/b.safetensors", "model.digest"),
        "warm_start.run_directory": ("runs/b", "warm_start.digest"),
        "prompts.train": ("shapes:train", "prompts.digest"),
        "evaluation.prompt_sets.x.y": ("sets/x.txt", "evaluation.x.y.digest"),
        "evaluation.prompt_sets.z": ("shapes:train", "evaluation.z.digest"),
        "reward.scorers.pickscore.source": ("w", "reward.pickscore.digest"),
        "reward.scorers.own.use": ("m:f", "reward.own.digest"),
        "reward.scorers.far.url": ("http://h", "reward.far.digest"),
    }
    assert of_evaluation == {
        "run_root": "runs",
        "policies.1.run": "runs/one",
        "evaluation.prompt_sets.train": "shapes:train",
        "evaluation.prompt_sets.heldout": "shapes:heldout",
    }


@pytest.mark.parametrize("config", [RUN, EVALUATION], ids=["run", "evaluation"])
def test_every_setting_can_be_replaced_and_nothing_else_changes(config):
    changed = replace_external(config, lambda setting: f"{setting.value}x")

    assert [s.value for s in external_settings(changed)] == [f"{s.value}x" for s in external_settings(config)]
    assert replace_external(changed, lambda setting: setting.value[:-1]) == config
