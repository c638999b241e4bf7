"""What ran: the code's version, the pipeline run that it is part of, and who started it."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

# Variable -> tag. KFP's launcher exports the pod's name, which begins with the workflow's; the placement adds the run's
# id on Kubeflow; Vertex names its job; KFP's own MLflow plugin makes a run for each task.
_PIPELINE = {
    "KFP_RUN_ID": "pipeline_run_id",
    "KFP_RUN_NAME": "pipeline_run_name",
    "KFP_POD_NAME": "pipeline_pod",
    "CLOUD_ML_JOB_ID": "vertex_job_id",
    "MLFLOW_RUN_ID": "kfp_mlflow_run_id",
}


def pipeline_run() -> dict[str, str]:
    """Tags that lead to the pipeline run, as far as the environment knows it; empty outside a cluster."""
    return {tag: os.environ[variable] for variable, tag in _PIPELINE.items() if os.environ.get(variable)}


USER = "RFT_USER"
"""Environment variable: who makes runs."""


def user() -> str:
    """Who made the run: RFT_USER, MLFLOW_TRACKING_USERNAME, else the user of the process."""
    for variable in (USER, "MLFLOW_TRACKING_USERNAME"):
        if name := os.environ.get(variable):
            return name
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user id has no name
        return str(os.getuid())


def code_version() -> str:
    """Git commit of the code with `-dirty` if tracked files differ, in an image RFT_CODE_VERSION; else the version."""
    return os.environ.get("RFT_CODE_VERSION") or commit_of(__file__) or version("reward-finetuning")


@cache
def commit_of(file: str) -> str | None:
    """Commit of the checkout that tracks `file`, when this process asked first: later changes do not run in it."""
    git = shutil.which("git")
    if git is None:
        return None
    here = [git, "-C", str(Path(file).parent)]
    # An installed package may lie in a repository of the user, which does not track it.
    tracked = subprocess.run([*here, "ls-files", "--error-unmatch", file], capture_output=True, check=False)
    answer = subprocess.run([*here, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if tracked.returncode or answer.returncode:
        return None
    differs = subprocess.run([*here, "diff", "--quiet", "HEAD"], capture_output=True, check=False).returncode
    return answer.stdout.strip() + ("-dirty" if differs else "")
