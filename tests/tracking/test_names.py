import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name

from reward_finetuning.tracking.names import mlflow_name, mlflow_names


@pytest.mark.parametrize("name", ["reward/mean", "eval/held out/reward/gain", "system/a:b", "größe", "a.b-c_d"])
def test_a_name_that_mlflow_takes_stays(name):
    assert mlflow_name(name) == name


@pytest.mark.parametrize(
    "part", ["(", "[", "", " ", ".", "..", "a/", "/a", "a//b", "../..", "x" * 300, "/." * 200, "..x", "\n", "%"]
)
def test_b6_a_prompt_set_of_any_name_makes_names_that_mlflow_takes(part):
    for name in (part, f"eval/{part}/reward/gain"):
        _validate_metric_name(mlflow_name(name))


@given(st.lists(st.text(alphabet="ab(/[. ", max_size=6), max_size=8))
def test_different_names_stay_different_and_are_accepted(names):
    accepted = mlflow_names(names)

    assert set(accepted) == set(names)
    assert len(set(accepted.values())) == len(set(names))
    for name in accepted.values():
        _validate_metric_name(name)
    assert mlflow_names(accepted.values()) == {name: name for name in accepted.values()}
