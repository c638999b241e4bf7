import pytest
from servers import kubernetes

from reward_finetuning.components.launcher.manifest import job_name, train_job
from reward_finetuning.components.launcher.settings import TrainJobSettings


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A loopback API that kubectl's configuration leads to."""
    with kubernetes.KubernetesServer(tmp_path) as running:
        monkeypatch.setenv("KUBECONFIG", str(running.kubeconfig))
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        yield running


@pytest.fixture
def settings():
    def make(**changes):
        given = {"image": "trainer:1", "num_nodes": 2, "gpus": 8, "poll_seconds": 0.01, "timeout_seconds": 60}
        return TrainJobSettings.model_validate(given | changes)

    return make


@pytest.fixture
def job(settings):
    """A TrainJob of two nodes that trains epoch 3."""

    def make(**changes):
        program = ["reward_finetuning.steps.train_epoch", "--config", "{}"]
        return train_job(job_name("prdp", 3, "key"), settings(**changes), program, num_processes=8)

    return make
