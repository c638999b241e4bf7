"""Every argument against the schema of the provider, which `terraform validate` would download.

The schema is read out of HashiCorp's own bindings of google 6.50 (cdktf-cdktf-provider-google on PyPI), as text.
"""

import ast
import functools
import importlib.util
from pathlib import Path

_META = {"count", "for_each", "depends_on", "lifecycle", "provider", "provisioner", "connection", "dynamic"}


@functools.cache
def _structures(resource: str) -> dict[str, dict[str, tuple[str | None, bool]]]:
    """Class name -> argument -> (class of the nested block, whether it is required)."""
    package = importlib.util.find_spec("cdktf_cdktf_provider_google")
    assert package, "cdktf-cdktf-provider-google is not installed: make lint-infra does it"
    tree = ast.parse(Path(str(package.origin)).with_name(resource).joinpath("__init__.py").read_text("utf-8"))
    return {
        node.name: {
            argument.arg: (_nested(argument.annotation), default is None)
            for argument, default in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True)
        }
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        for init in node.body
        if isinstance(init, ast.FunctionDef) and init.name == "__init__"
    }


def _nested(annotation: ast.expr | None) -> str | None:
    """The class that an annotation names as a text, beside the dictionary that it may be instead."""
    texts = [each.value for each in ast.walk(annotation) if isinstance(each, ast.Constant)] if annotation else []
    return next((text for text in texts if isinstance(text, str)), None)


def _problems(where: str, body: dict, name: str, structures: dict) -> list[str]:
    known = structures[name]
    blocks = {key: value for key, value in body.items() if key not in _META or key in known}
    for dynamic in body.get("dynamic", []):
        blocks |= {key: [*blocks.get(key, []), *value["content"]] for key, value in dynamic.items()}
    found = [f"{where}: {key} is no argument" for key in blocks if key not in known]
    found += [f"{where}: {key} is missing" for key, (_, needed) in known.items() if needed and key not in blocks]
    for key, value in blocks.items():
        nested = known.get(key, (None, False))[0]
        if nested in structures and isinstance(value, list):
            for each in value:
                found += _problems(f"{where}.{key}", each, nested, structures)
    return found


def test_every_resource_has_the_arguments_that_the_provider_knows(terraform):
    problems = []
    for address, body in terraform.resources().items():
        kind = address.partition(".")[0].removeprefix("google_")
        structures = _structures(kind)
        name = next(each for each in structures if each.lower() == kind.replace("_", "") + "config")
        problems += _problems(address, body, name, structures)

    assert problems == []


def test_wrong_and_missing_arguments_are_found_in_blocks_too():
    body = {"name": "x", "locaton": "y", "lifecycle_rule": [{"action": [{"typ": "Delete"}]}]}

    problems = _problems("bucket", body, "StorageBucketConfig", _structures("storage_bucket"))

    assert problems == [
        "bucket: locaton is no argument",
        "bucket: location is missing",
        "bucket.lifecycle_rule: condition is missing",
        "bucket.lifecycle_rule.action: typ is no argument",
        "bucket.lifecycle_rule.action: type is missing",
    ]
