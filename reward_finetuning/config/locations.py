"""Types of the settings that name files, folders, buckets and addresses: what would lead elsewhere is refused.

A path is taken as it is written, as in any program that no shell stands before: `$HOME` would become a folder of that
name. `~` is expanded.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, Field

from reward_finetuning.config.display import has_secret

PROMPT_FORMATS = ("hpdv2", "pickapic")
"""What may stand before the path of a prompt set and a colon: the format of its file."""

BUCKET_SCHEMES = ("gs", "s3")
"""What stands before `://` where something is in a bucket; storage/buckets has the service of each."""

BUCKET_EXAMPLES = " or ".join(f"{scheme}://BUCKET/PREFIX" for scheme in BUCKET_SCHEMES)
"""How messages show what is possible."""

HUB = "hf:"
"""What stands before a dataset of the Hugging Face hub."""

_HUB_PROMPTS = re.compile(r"hf:([\w.-]+/[\w.-]+)(?:@([\w.-]+))?(?:/([\w.-]+))?\[([^\[\]]+)\]\.(.+)")
_TABLE = re.compile(r"(.+\.(?:parquet|csv|tsv|json|jsonl|ndjson)):([^:/]+)", re.IGNORECASE)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(/+)")
_BARE_SCHEMES = tuple(f"{scheme}:" for scheme in BUCKET_SCHEMES)
_VARIABLE = re.compile(r"\$(\w+|\{\w+\})")
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]")
_LONGEST_NAME = 255
_LONGEST = 1024


def scheme_of(uri: str) -> str:
    """What stands before `://`; empty for a path."""
    scheme, separator, _ = uri.partition("://")
    return scheme if separator else ""


def in_bucket(uri: str) -> bool:
    """Whether it names something in a bucket."""
    return scheme_of(uri) in BUCKET_SCHEMES


def check_location(value: str) -> str:
    """A path or the URI of a place in a bucket, `~` expanded.

    Raises:
        ValueError: with what would be right.
    """
    _check_characters(value)
    if _WINDOWS.match(value):
        raise ValueError("a Windows path names nothing here; in WSL C:\\x is /mnt/c/x")
    if "\\" in value:
        raise ValueError(f"folders are separated by /: write {value.replace(chr(92), '/')}")
    _check_scheme(value)
    if "://" in value:
        return value
    _check_variables(value)
    return _expanded(value)


def without_column(source: str) -> tuple[str, str]:
    """The file of a prompt set `FILE:COLUMN`, and the column; the source and "" if it names no column of a table."""
    match = _TABLE.fullmatch(source)
    return (match[1], match[2]) if match else (source, "")


class HubPrompts(NamedTuple):
    """A column of a dataset of the hub."""

    repository: str
    revision: str | None
    subset: str | None
    split: str
    column: str

    @property
    def notation(self) -> str:
        """As a prompt set is written."""
        revision, subset = (f"@{self.revision}" if self.revision else ""), (f"/{self.subset}" if self.subset else "")
        return f"{HUB}{self.repository}{revision}{subset}[{self.split}].{self.column}"


def hub_prompts(source: str) -> HubPrompts:
    """The parts of `hf:owner/name@revision/subset[split].column`.

    Raises:
        ValueError: with what would be right.
    """
    match = _HUB_PROMPTS.fullmatch(source)
    if match is None:
        raise ValueError(f"a dataset of the hub is written {HUB}owner/name[split].column, got {source!r}")
    return HubPrompts(*match.groups())


def check_prompt_source(value: str) -> str:
    """As `check_location`, with or without a format before it; or a dataset of the hub."""
    if value.startswith(HUB):
        _check_characters(value)
        hub_prompts(value)
        return value
    name, separator, path = value.partition(":")
    if not separator or name not in PROMPT_FORMATS:
        return check_location(value)
    return f"{name}:{check_location(path)}" if path else value


def check_tracking_uri(value: str) -> str:
    """A path, or the URI of a tracking server or database, without a password.

    Raises:
        ValueError: with what would be right.
    """
    _check_characters(value)
    if has_secret(value):
        raise ValueError(
            "a run file is stored and shown in many places, so it must hold no password: remove it here, and set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or the whole MLFLOW_TRACKING_URI, in the "
            "environment; on a cluster from a Kubernetes secret"
        )
    if (match := re.match(r"(https?):/*(?!/)", value)) is not None and not value.startswith(f"{match[1]}://"):
        raise ValueError(f"a server is written {match[1]}://HOST:PORT")
    if "://" not in value:
        return check_location(value)
    _check_variables(value)
    if "://~" in value or "/~/" in value:
        raise ValueError(f"~ is not expanded in a URI: write {value.replace('~', str(Path.home()), 1)}")
    return value


def check_service_url(value: str) -> str:
    """The URL of a service, without a password.

    Raises:
        ValueError: with what would be right.
    """
    _check_characters(value)
    if has_secret(value):
        raise ValueError(
            "a run file is stored and shown in many places, so it must hold no password or token: remove it here, and "
            "name the environment variable that holds the server's token in token_env"
        )
    return value


def check_label(value: str) -> str:
    """A name that appears in tables, pages and MLflow: short and printable.

    Raises:
        ValueError: with what is wrong.
    """
    if not value.isprintable():
        raise ValueError("a name holds no control characters")
    if len(value) > _LONGEST_NAME:
        raise ValueError(f"a name has at most {_LONGEST_NAME} characters")
    return value


Label = Annotated[str, AfterValidator(check_label)]
Location = Annotated[str, Field(min_length=1), AfterValidator(check_location)]
PromptSource = Annotated[str, Field(min_length=1), AfterValidator(check_prompt_source)]
TrackingUri = Annotated[str, Field(min_length=1), AfterValidator(check_tracking_uri)]
ServiceUrl = Annotated[str, Field(min_length=1), AfterValidator(check_service_url)]


def _check_characters(value: str) -> None:
    if value != value.strip():
        raise ValueError("it begins or ends with a space: remove it")
    if not value.isprintable():
        raise ValueError("it holds a control character, such as a line break")
    if len(value) > _LONGEST or any(len(name.encode()) > _LONGEST_NAME for name in value.split("/")):
        raise ValueError(f"it has more than {_LONGEST} characters, or a name of more than {_LONGEST_NAME} bytes")


def _check_scheme(value: str) -> None:
    match = _SCHEME.match(value)
    scheme = match[1] if match else value[:2] if value[:3].lower() in _BARE_SCHEMES else ""
    if not scheme or (scheme in BUCKET_SCHEMES and match is not None and match[2] == "//"):
        return
    rest = value[len(scheme) + 1 :].lstrip("/")
    if (bucket := scheme.lower()) in BUCKET_SCHEMES:
        raise ValueError(f"a bucket is written {bucket}://BUCKET/PREFIX: write {bucket}://{rest}")
    if scheme.lower() == "file":
        raise ValueError(f"a path stands alone: write /{rest}")
    raise ValueError(f"paths and {BUCKET_EXAMPLES} are supported, not {scheme}:{match[2] if match else ''}")


def _check_variables(value: str) -> None:
    if (match := _VARIABLE.search(value)) is not None:
        right = os.path.expandvars(value)
        hint = f"write {right}" if right != value else "write the path itself"
        raise ValueError(f"environment variables such as {match[0]} are not expanded in settings: {hint}")


def _expanded(value: str) -> str:
    if not value.startswith("~"):
        return value
    path = os.path.expanduser(value)
    if path.startswith("~"):
        raise ValueError(f"there is no user {value.partition('/')[0][1:]} here; a folder of that name is ./{value}")
    return path
