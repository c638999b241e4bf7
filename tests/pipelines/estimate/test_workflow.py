"""Counts and sizes of workflows, held against what a real installation showed."""

import pytest

from reward_finetuning.pipelines.estimate.workflow import Steps, Workflow, is_evaluation
from reward_finetuning.pipelines.estimate.workflow_size import MOST_BYTES, MOST_SHARE, WorkflowSize, workflow_size
from reward_finetuning.pipelines.estimate.workflow_status import Given, State


def container(*after):
    return {"componentRef": {"name": "comp-task"}, "dependentTasks": list(after)}


def graph(**tasks):
    return {"dag": {"tasks": tasks}}


def document(root, **components):
    return {"root": root, "components": {"comp-task": {"executorLabel": "exec-task"}, **components}}


def steps(of, **options):
    return Workflow(of, 3, **options).steps()


def test_a_task_is_a_driver_and_an_executor_behind_the_driver_of_the_root():
    assert steps(document(graph(a=container()))) == Steps(tasks=1, pods=3, chain=3)


def test_tasks_that_wait_for_each_other_are_a_chain_and_others_are_not():
    one, two = container(), container("a")

    assert steps(document(graph(a=one, b=two))) == Steps(tasks=2, pods=5, chain=5)
    assert steps(document(graph(a=one, b=one))) == Steps(tasks=2, pods=5, chain=3)


@pytest.mark.parametrize(("limit", "chain"), [(None, 1 + 1 + 1 + 2), (1, 1 + 1 + 3 * (1 + 2))])
def test_a_loop_and_each_of_its_iterations_has_a_driver(limit, chain):
    loop = {"componentRef": {"name": "comp-loop"}, "parameterIterator": {"items": {"inputParameter": "epochs"}}}
    loop |= {"iteratorPolicy": {"parallelismLimit": limit}} if limit else {}

    counted = steps(document(graph(loop=loop), **{"comp-loop": graph(a=container())}))

    assert counted == Steps(tasks=3, pods=1 + 1 + 3 * 3, chain=chain)


def test_evaluations_are_left_out_and_the_conditions_before_them_are_not():
    condition = {"componentRef": {"name": "comp-if"}, "triggerPolicy": {"condition": "true"}}
    whole = document(graph(**{"condition-1": condition}), **{"comp-if": graph(evaluate=container())})

    assert steps(whole) == Steps(tasks=1, pods=4, chain=4)
    assert steps(whole, evaluates=False) == Steps(tasks=0, pods=2, chain=2)
    assert [is_evaluation(name) for name in ("evaluate-2", "evaluation-shards", "train-epoch")] == [True, True, False]


@pytest.fixture
def split(package):
    """Documents of a split package for Kubeflow, with a number of shards."""

    def compiled(shards, *overrides):
        options = ["loop.granularity=split", f"loop.num_shards={shards}", "sampling.micro_batch_size=8", *overrides]
        return package("kfp", *options).documents

    return compiled


def nodes_of(documents, epochs):
    return State(*documents, Given(epochs, False, "gs://bucket/runs/a/configs/0.json", {})).nodes()


def test_a_shard_of_an_epoch_has_two_pods_and_six_nodes(split):
    two, four = (nodes_of(split(shards), 1) for shards in (2, 4))
    counts = [Workflow(split(shards)[0], 1, evaluates=False).steps().pods for shards in (2, 4)]

    assert len(four) - len(two) == 2 * 6
    assert counts[1] - counts[0] == 2 * 2


def test_an_epoch_is_at_most_seven_pods_in_a_row_and_six_besides_its_shards(split):
    spec, _ = split(4)

    one, two = (Workflow(spec, epochs, evaluates=False).steps() for epochs in (1, 2))

    assert two.chain - one.chain <= 7
    assert two.pods - one.pods - 4 * 2 <= 6


def test_the_size_is_linear_in_the_epochs(split):
    documents, config = split(4), "gs://bucket/runs/a/configs/0123456789abcdef.json"
    size = workflow_size(*documents, config=config, evaluate_every=100)
    policy = {"address": config, "mlflow_run": "0" * 32}

    whole = State(*documents, Given(6, False, config, {"policy": policy, "next_policy": policy}))

    assert size.total(6) == pytest.approx(whole.specification_bytes() + whole.compressed_bytes(), rel=0.1)


def test_as_many_epochs_fit_as_stay_within_the_share():
    size = WorkflowSize(fixed=100_000, epoch=50_000, evaluation=10_000, evaluate_every=5)

    most = size.most_epochs()

    assert size.total(most) <= MOST_SHARE * MOST_BYTES < size.total(most + 1)
    assert WorkflowSize(fixed=0, epoch=1, evaluation=0, evaluate_every=1).most_epochs() == 100
    assert WorkflowSize(fixed=MOST_BYTES, epoch=1, evaluation=0, evaluate_every=1).most_epochs() == 0
