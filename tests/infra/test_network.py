"""Who reaches whom, by the rendered network policies: every pair of roles, on GKE and on any cluster.

No network plugin is here: whether a cluster enforces the policies is tried there (docs/on-your-cluster.md).
"""

import re
from pathlib import Path

import pytest
import yaml
from infra.network import Network, Pod

ROOT = Path(__file__).parents[2]
GOLDENS = ROOT / "tests/pipelines/graphs/goldens"
RUN = {"workflows.argoproj.io/workflow": "run-1", "pipeline/runid": "1"}
ROLE = "reward-finetuning/role"


def workloads(built):
    """Name -> pod, of every Deployment and StatefulSet."""
    kinds = [*built.all("Deployment"), *built.all("StatefulSet")]
    return {
        each["metadata"]["name"]: Pod(each["metadata"]["namespace"], each["spec"]["template"]["metadata"]["labels"])
        for each in kinds
    }


def task_pods():
    """Pool -> a pod of its tasks, with the labels that a compiled package gives it."""
    labels = [
        executor["podMetadata"]["labels"]
        for path in sorted(GOLDENS.glob("*kfp*.yaml"))
        for platform in list(yaml.safe_load_all(path.read_text("utf-8")))[1:]
        for executor in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values()
    ]
    return {each[ROLE]: Pod("kubeflow", RUN | each) for each in labels}


@pytest.fixture(scope="module", params=["gke", "plain"])
def installation(request, kubeflow, kubeflow_plain, mlflow, mlflow_plain, trainer):
    """(policies, name -> pod) of a whole cluster."""
    on_gke = request.param == "gke"
    pipelines, tracking = (kubeflow, mlflow) if on_gke else (kubeflow_plain, mlflow_plain)
    (job,) = trainer.one("ClusterTrainingRuntime", "torch-distributed")["spec"]["template"]["spec"]["replicatedJobs"]
    node = job["template"]["spec"]["template"]["metadata"]["labels"] | {"jobset.sigs.k8s.io/jobset-name": "job"}
    pods = workloads(pipelines) | workloads(tracking) | task_pods()
    pods |= {
        "driver": Pod("kubeflow", RUN),
        "train-job": Pod("kubeflow", node),
        "submitter": Pod("kubeflow", {"reward-finetuning/submitter": "true"}),
        "reward-service": Pod("kubeflow", {"reward-finetuning/service": "reward"}),
        "someone": Pod("default", {"app": "ml-pipeline-ui"}),
        "dns": Pod("kube-system", {"k8s-app": "kube-dns"}),
        "control-plane": Pod(address="172.16.0.2" if on_gke else "172.18.0.2"),
        "internet": Pod(address="203.0.113.7"),
    }
    return Network([*pipelines.objects, *tracking.objects]), pods


TASKS = ("light", "export", "sample", "reward", "train")
RUNS = (*TASKS, "driver")
API = ("ml-pipeline-ui", "ml-pipeline-persistenceagent", "ml-pipeline-scheduledworkflow", "submitter")
PORTS = {  # what listens: pod -> (ports, who may reach them)
    "ml-pipeline": ((8888, 8887), API),
    "ml-pipeline-ui": ((3000,), ()),
    "ml-pipeline-visualizationserver": ((8888,), ("ml-pipeline",)),
    "metadata-grpc-deployment": ((8080,), (*RUNS, "ml-pipeline", "metadata-writer", "metadata-envoy-deployment")),
    "metadata-envoy-deployment": ((9090,), ("ml-pipeline-ui",)),
    "mysql": ((3306,), ("ml-pipeline", "cache-server", "metadata-grpc-deployment")),
    "cache-server": ((8443,), ("control-plane",)),
    "workflow-controller": ((9090, 6060), ()),
    "reward-service": ((8080,), ("sample", "reward", "train", "train-job")),
    "train-job": ((29500,), ("train-job",)),
    **dict.fromkeys(RUNS, ((29500, 8080), ())),
}


def test_the_tasks_of_every_pool_have_the_label_of_their_role():
    assert set(task_pods()) == set(TASKS)


@pytest.mark.parametrize("destination", PORTS)
def test_a_pod_is_reached_by_those_that_need_it_and_by_no_other(installation, destination):
    network, pods = installation
    ports, expected = PORTS[destination]

    for port in ports:
        sources = {name for name, pod in pods.items() if network.allows(pod, pods[destination], port)}

        assert sources == set(expected), f"{destination}:{port}"


@pytest.mark.parametrize("task", [*RUNS, "train-job"])
def test_no_pod_of_a_run_reaches_the_api_or_what_forwards_to_it(installation, task):
    network, pods = installation

    for name in ("ml-pipeline", "ml-pipeline-ui", "metadata-envoy-deployment", "mysql", "workflow-controller"):
        for port in (80, 443, 3000, 3306, 8443, 8887, 8888, 9090, 9901):
            assert not network.allows(pods[task], pods[name], port), f"{task} to {name}:{port}"


@pytest.mark.parametrize("task", [*RUNS, "train-job"])
def test_a_pod_of_a_run_reaches_what_it_works_with_and_not_the_internet(installation, task):
    network, pods = installation

    assert network.allows(pods[task], pods["dns"], 53, "UDP")
    assert network.allows(pods[task], pods["mlflow"], 5000)
    assert network.allows(pods[task], pods["seaweedfs"], 8333)
    assert network.allows(pods[task], pods["control-plane"], 443) == (task != "train-job")
    for port in (80, 443, 5000, 8333):
        assert not network.allows(pods[task], pods["internet"], port)
    for port in (8111, 8888, 9333):  # accounts, files and volumes of the store
        assert not network.allows(pods[task], pods["seaweedfs"], port)


def test_on_gke_the_nodes_of_a_train_job_reach_the_apis_that_runs_reach(kubeflow):
    network, googleapis = Network(kubeflow.objects), Pod(address="199.36.153.8")

    for labels in (RUN, {"jobset.sigs.k8s.io/jobset-name": "job"}):
        assert network.allows(Pod("kubeflow", labels), googleapis, 443)
        assert network.allows(Pod("kubeflow", labels), Pod(address="169.254.169.254"), 80)


def test_elsewhere_no_address_is_googles_and_both_addresses_are_settings(kubeflow_plain):
    text = (ROOT / "infra/kubernetes/kubeflow/overlays/plain/addresses/settings.env").read_text("utf-8")
    settings = dict(line.split("=", 1) for line in text.split())
    blocks = re.findall(r"'cidr': '([^']+)'", str(kubeflow_plain.all("NetworkPolicy")))

    assert set(blocks) == {*settings.values(), "169.254.20.10/32"}


def test_mlflow_is_reached_by_pipelines_and_its_database_by_it_alone(mlflow_plain):
    pods = workloads(mlflow_plain) | {"task": Pod("kubeflow", RUN), "someone": Pod("default", {"app": "mlflow"})}
    network = Network(mlflow_plain.objects)

    assert {name for name, pod in pods.items() if network.allows(pod, pods["postgres"], 5432)} == {"mlflow"}
    assert network.allows(pods["task"], pods["mlflow"], 5000)
    assert not network.allows(pods["someone"], pods["mlflow"], 5000)
    assert not network.allows(pods["postgres"], Pod(address="203.0.113.7"), 443)


def policy(**spec):
    return {"kind": "NetworkPolicy", "metadata": {"name": "p", "namespace": "a"}, "spec": {"podSelector": {}} | spec}


LABELLED = {"matchLabels": {"x": "y"}}
UNLABELLED = {"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]}
BLOCK = {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}


@pytest.mark.parametrize(
    ("spec", "source", "allowed"),
    [
        ({"ingress": []}, Pod("a"), False),
        ({"ingress": [{}]}, Pod("b"), True),
        ({"policyTypes": ["Egress"]}, Pod("b"), True),
        ({"podSelector": LABELLED}, Pod("b"), True),
        ({"ingress": [{"from": [{"podSelector": {}}]}]}, Pod("a"), True),
        ({"ingress": [{"from": [{"podSelector": {}}]}]}, Pod("b"), False),
        ({"ingress": [{"from": [{"namespaceSelector": {}}]}]}, Pod("b"), True),
        ({"ingress": [{"from": [{"namespaceSelector": {}, "podSelector": LABELLED}]}]}, Pod("b"), False),
        ({"ingress": [{"from": [{"podSelector": UNLABELLED}]}]}, Pod("a"), True),
        ({"ingress": [{"from": [{"ipBlock": BLOCK}]}]}, Pod(address="10.2.0.1"), True),
        ({"ingress": [{"from": [{"ipBlock": BLOCK}]}]}, Pod(address="10.1.0.1"), False),
        ({"ingress": [{"ports": [{"port": 80, "endPort": 90}]}]}, Pod("b"), True),
        ({"ingress": [{"ports": [{"port": 90}]}]}, Pod("b"), False),
        ({"ingress": [{"ports": [{"port": 85, "protocol": "UDP"}]}]}, Pod("b"), False),
    ],
)
def test_the_rules_are_those_of_kubernetes(spec, source, allowed):
    assert Network([policy(**spec)]).allows(source, Pod("a"), 85) is allowed
