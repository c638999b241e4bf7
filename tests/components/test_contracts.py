import inspect
from importlib import import_module
from pathlib import Path

import pytest
from kfp import dsl

COMPONENTS = Path(__file__).parents[2] / "components"
ALL = sorted(path.stem for path in COMPONENTS.glob("*.py") if path.stem != "__init__")
LAUNCHERS = [name for name in ALL if name.startswith("launch_")]  # of a step on several nodes
NAMES = [name for name in ALL if name not in LAUNCHERS]


def component(name):
    return getattr(import_module(f"reward_finetuning.components.{name}"), name)


def step(name):
    return getattr(import_module(f"reward_finetuning.steps.{name}"), name)


def test_there_is_a_component_for_every_step_and_no_other():
    steps = (COMPONENTS.parent / "reward_finetuning" / "steps").glob("*.py")
    programs = {path.stem for path in steps if 'if __name__ == "__main__"' in path.read_text()}

    assert set(NAMES) == programs


@pytest.mark.parametrize("name", NAMES)
def test_a_component_takes_what_its_step_takes(name):
    assert list(inspect.signature(component(name)).parameters) == list(inspect.signature(step(name)).parameters)


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_launcher_takes_what_its_step_takes_and_the_nodes(name):
    step_takes = inspect.signature(step(name.removeprefix("launch_"))).parameters

    assert list(inspect.signature(component(name)).parameters) == [*step_takes, "job"]


@pytest.mark.parametrize("name", ALL)
def test_a_component_compiles_under_the_name_of_its_step(name):
    built = dsl.component(component(name), base_image="python", install_kfp_package=False)

    assert built.name == name.replace("_", "-")
    assert built.description


@pytest.mark.parametrize("name", ALL)
def test_a_component_is_one_call(name):
    source = inspect.getsource(component(name))

    assert len(source.splitlines()) <= 30
    assert source.count("step(") == 1
