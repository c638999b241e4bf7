"""Tasks and log ids from Argo's nodes. The server builds nodes as recorded; two recorded ids are checked by hand."""

import json

import pytest
from kfp_server_api import ApiClient
from servers import argo

from reward_finetuning.pipelines.remote.clients.kubeflow_tasks import tasks_of
from reward_finetuning.pipelines.remote.clients.protocol import State


class Response:
    def __init__(self, value):
        self.data = json.dumps(value)


def deserialized(details):
    return ApiClient().deserialize(Response(details), "list[V2beta1PipelineTaskDetail]")


@pytest.mark.parametrize(
    ("name", "recorded"),
    [
        ("online-fused-f4sxw(0).root(0).next-epochs(0).executor(0)", "online-fused-f4sxw-8323176"),
        ("online-fused-wd76h(0).root-driver(0)", "online-fused-wd76h-554531452"),
    ],
)
def test_ids_of_nodes_are_those_of_a_real_installation(name, recorded):
    assert argo.node_id(name.partition("(")[0], name) == recorded


def test_every_attempt_of_a_task_has_the_id_of_its_log():
    details = argo.details("run", "online-fused-f4sxw", {"next-epochs": ["FAILED", "FAILED", "RUNNING"]})

    tasks = {task.name: task for task in tasks_of(deserialized(details))}

    attempts = tasks["next-epochs"].attempts
    assert [attempt.log for attempt in attempts] == [
        argo.log_node("online-fused-f4sxw", "next-epochs", number) for number in range(3)
    ]
    assert [attempt.state for attempt in attempts] == [State.FAILED, State.FAILED, State.RUNNING]
    assert tasks["next-epochs-driver"].state is State.SUCCEEDED


def test_a_task_whose_pod_waits_for_a_machine_is_pending_and_a_failed_driver_is_a_task():
    details = argo.details("run", "w-abcde", {"sample": ["PENDING"], "reward-driver": ["FAILED"]})

    states = {task.name: task.state for task in tasks_of(deserialized(details))}

    assert states["sample"] is State.PENDING
    assert states["reward-driver"] is State.FAILED


def test_a_task_in_a_nested_graph_and_a_loop_says_where_it_is():
    workflow, loop = "w-abcde", "w-abcde(0).root(0).epoch-2(0).for-loop-1(0).iteration-iterations(1:1)(0)"
    executor = f"{loop}.iteration-item(0).sample(0).executor"
    names = [executor[:end] for end in range(len(workflow), len(executor) + 1) if is_a_node(executor, end)]
    nodes = zip(names, [*names[1:], f"{executor}(0)"], strict=True)
    details = [argo._detail("run", workflow, name, "RUNNING", [child]) for name, child in nodes]
    details.append(argo._detail("run", workflow, f"{executor}(0)", "RUNNING", []))

    (task,) = tasks_of(deserialized(details))

    assert task.name == "epoch-2/sample[1]"


def is_a_node(name, end):
    return name[end : end + 1] in {"", ".", "("}


def test_a_run_without_nodes_has_no_tasks():
    assert tasks_of(()) == ()
