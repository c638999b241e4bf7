"""Where packages are submitted to: the sections `kfp` and `vertex` of a cluster file."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from reward_finetuning.config.base import Frozen


class TargetName(StrEnum):
    """What a package is compiled for."""

    LOCAL = "local"
    KFP = "kfp"
    VERTEX = "vertex"


class KfpService(Frozen):
    """A Kubeflow Pipelines API."""

    host: str | None = Field(default=None, pattern=r"^https?://.+")
    """URL of the API, e.g. https://kubeflow.example.com/pipeline; `--host` overrides it. Inside the cluster it is not
    needed."""

    ui: str | None = Field(default=None, pattern=r"^https?://.+")
    """URL under which people open the UI, where it is not `host`."""

    namespace: str = "kubeflow"
    """Kubernetes namespace that runs live in: a profile's, where Kubeflow has several users. An installation for a
    single user has one namespace, and this is ignored."""

    experiment: str = Field(default="reward-finetuning", min_length=1)
    """Experiment that runs belong to; made where it is missing."""

    service_account: str | None = None
    """Kubernetes service account of the pods; the installation's own when not given."""

    pipeline_root: str | None = None
    """Folder of KFP's artifacts (manifests of a few KiB), gs:// or s3://; the installation's own when not given."""

    token_variable: str = Field(default="KFP_TOKEN", min_length=1)
    """Environment variable that holds the bearer token; a token itself never stands in a file."""

    timezone: str = "UTC"
    """Time zone in which the installation reads cron: CRON_SCHEDULE_TIMEZONE of ml-pipeline-scheduledworkflow."""

    shared_folders: tuple[str, ...] = ()
    """Folders that this machine and every pod mount at the same path (NFS); they may hold runs, as a bucket does.
    Folders of claims that every pool mounts (pools.every.volumes) need not be listed."""


class VertexService(Frozen):
    """Vertex AI Pipelines of a project."""

    project: str | None = None
    """Google Cloud project id; `--project` overrides it."""

    location: str = Field(default="us-central1", pattern=r"^[a-z0-9-]+$")
    """Region."""

    service_account: str | None = None
    """E-mail of the account that tasks run as; the project's default one when not given."""

    pipeline_root: str | None = Field(default=None, pattern=r"^gs://.+")
    """gs:// folder of Vertex' artifacts (manifests of a few KiB)."""

    endpoint: str | None = Field(default=None, pattern=r"^https?://.+")
    """URL of the API where it is not https://LOCATION-aiplatform.googleapis.com (Private Service Connect)."""
