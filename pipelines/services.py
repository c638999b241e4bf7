"""Where packages are submitted to: the sections `kfp` and `vertex` of a cluster file."""

from __future__ import annotations

from pydantic import Field

from reward_finetuning.config.base import Frozen


class KfpService(Frozen):
    """A Kubeflow Pipelines API."""

    host: str | None = None
    """URL of the API, e.g. https://kubeflow.example.com/pipeline; `--host` overrides it."""

    namespace: str = "kubeflow"
    """Kubernetes namespace that runs live in."""

    experiment: str = "reward-finetuning"
    """Experiment that runs belong to; made where it is missing."""

    service_account: str | None = None
    """Kubernetes service account of the pods; the installation's own when not given."""

    pipeline_root: str | None = None
    """gs:// folder of KFP's artifacts (manifests of a few KiB); the installation's own when not given."""

    token_variable: str = Field(default="KFP_TOKEN", min_length=1)
    """Environment variable that holds the bearer token; a token itself never stands in a file."""


class VertexService(Frozen):
    """Vertex AI Pipelines of a project."""

    project: str | None = None
    """Google Cloud project id; `--project` overrides it."""

    location: str = "us-central1"
    """Region."""

    service_account: str | None = None
    """E-mail of the account that tasks run as; the project's default one when not given."""

    pipeline_root: str | None = Field(default=None, pattern=r"^gs://.+")
    """gs:// folder of Vertex' artifacts (manifests of a few KiB)."""
