import sys
from textwrap import dedent

import numpy as np
import pytest

from reward_finetuning.config import RetryableError, RunConfig, TrainingError, UserError, parse_config
from reward_finetuning.config.sections.reward import RewardConfig
from reward_finetuning.rewards.scorer import check_scorers, load_scorers, scorer_digests

IMAGES = np.zeros((3, 4, 4, 3), dtype=np.uint8)
PROMPTS = ["one", "to", "three"]


@pytest.fixture
def module(tmp_path, monkeypatch, request):
    """Write a module that a plug-in setting can name."""
    name = f"plugin_{abs(hash(request.node.name))}"
    monkeypatch.syspath_prepend(tmp_path)

    def make(source):
        (tmp_path / f"{name}.py").write_text(dedent(source), encoding="utf-8")
        return name

    yield make
    sys.modules.pop(name, None)


def using(use, **settings):
    return RewardConfig(weights={"mine": 1.0}, scorers={"mine": {"use": use, **settings}})


def test_a_plain_function_scores(module):
    name = module("def length(images, prompts): return [len(p) for p in prompts]")

    scorer = load_scorers(using(f"{name}:length"))["mine"]

    assert list(scorer(IMAGES, PROMPTS)) == [3, 2, 5]
    assert scorer_digests(using(f"{name}:length")) == {}


MODULE = """
    def check(settings):
        if settings.source is None:
            raise ValueError("source is needed")
    def digest(settings):
        return "sha-of-" + settings.source
    def load(settings):
        return lambda images, prompts: [float(settings.dtype == "float16")] * len(prompts)
"""


def test_a_module_with_settings_checks_digests_and_loads(module):
    config = using(f"{module(MODULE)}:", source="weights", dtype="float16")

    check_scorers(config)

    assert scorer_digests(config) == {"reward.mine.digest": "sha-of-weights"}
    assert list(load_scorers(config)["mine"](IMAGES, PROMPTS)) == [1.0, 1.0, 1.0]


def test_an_installed_entry_point_is_found_by_its_name(tmp_path, module):
    name = module("def length(images, prompts): return [len(p) for p in prompts]")
    installed = tmp_path / "theirs-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(f"[reward_finetuning.scorers]\nprompt-length = {name}:length\n")

    assert list(load_scorers(using("prompt-length"))["mine"](IMAGES, PROMPTS)) == [3, 2, 5]
    with pytest.raises(UserError, match=r"no such entry point \(installed: prompt-length\); or write module:function"):
        check_scorers(using("prompt-width"))


@pytest.mark.parametrize(
    ("source", "use", "message"),
    [
        ("", "no_such_module:f", r"cannot be imported: ModuleNotFoundError: No module named 'no_such_module'"),
        ("", "{}:f", r"cannot be imported: AttributeError: .* has no attribute 'f'"),
        ("import no_such_package\n", "{}:f", r"cannot be imported: ModuleNotFoundError: No module named 'no_such_pa"),
        ("1 / 0\n", "{}:f", r"cannot be imported: ZeroDivisionError"),
        ("def f(:\n", "{}:f", r"cannot be imported: SyntaxError"),
        ("f = 3\n", "{}:f", r"is a int; it must be a function \(images, prompts\) -> scores, or have .* check, digest"),
        ("", "{}:a b", r"cannot be imported: ValueError"),
    ],
)
def test_what_is_no_scorer_is_refused_and_named(module, source, use, message):
    config = using(use.format(module(source)))

    with pytest.raises(UserError, match=rf"plug-in scorer 'mine' \(use: .*\) {message}"):
        check_scorers(config)


def test_a_module_that_refuses_its_settings_is_named(module):
    with pytest.raises(UserError, match=r"plug-in scorer 'mine' .* refuses its settings: ValueError: source is needed"):
        check_scorers(using(f"{module(MODULE)}:"))


def test_a_digest_that_is_no_text_is_refused(module):
    name = module(MODULE.replace('"sha-of-" + settings.source', "None"))

    with pytest.raises(UserError, match="digest must return text, got None"):
        scorer_digests(using(f"{name}:", source="x"))


def test_an_exception_while_scoring_names_the_plugin(module):
    name = module("def f(images, prompts): return prompts[0] + 1")

    with pytest.raises(TrainingError, match=r"plug-in scorer 'mine' .* failed on 3 pictures: TypeError: can only conc"):
        load_scorers(using(f"{name}:f"))["mine"](IMAGES, PROMPTS)


def test_a_plugin_may_say_that_a_retry_helps(module):
    name = module("""
        from reward_finetuning.config import RetryableError
        def f(images, prompts): raise RetryableError("busy")
    """)

    with pytest.raises(RetryableError, match=r"^busy$"):
        load_scorers(using(f"{name}:f"))["mine"](IMAGES, PROMPTS)


def test_settings_that_a_plain_function_has_no_use_for_are_refused_also_after_the_config_travelled(module):
    name = module("def f(images, prompts): return [0.0] * len(prompts)")
    config = RunConfig(name="a", reward=using(f"{name}:f"))

    check_scorers(parse_config(config.model_dump_json()).reward)
    with pytest.raises(UserError, match=r"reward.scorers.mine: this scorer is a function and has no source, dtype"):
        check_scorers(using(f"{name}:f", source="x", dtype="float16"))


def test_another_plugin_under_the_same_name_is_another_run():
    ours, theirs = (RunConfig(name="a", reward=using(use)).numbers() for use in ("m:ours", "m:theirs"))

    assert {key for key in ours if ours[key] != theirs[key]} == {"reward.scorers.mine.use"}


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        ({"weights": {"a": 1}, "scorers": {"a": {"use": "m:f", "url": "http://x"}}}, "not both"),
        ({"weights": {"reward": 1}}, "no scorer can be called reward"),
        ({"weights": {"a b": 1}}, "should match pattern"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(reward, message):
    with pytest.raises(ValueError, match=message):
        RewardConfig.model_validate(reward)
