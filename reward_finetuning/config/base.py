"""Base of all sections: immutable, closed to unknown keys, documented field by field."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field


class Frozen(BaseModel):
    """A section of the config: immutable, and an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False, hide_input_in_errors=True
    )

    def model_dump_json(self, **options: Any) -> str:
        """JSON text that KFP carries as it is; see `without_placeholders`."""
        return without_placeholders(super().model_dump_json(**options))


def without_placeholders(json_text: str) -> str:
    """The same JSON with `{{` escaped within its strings, where alone it can stand.

    KFP and Argo substitute {{...}} in all text that passes through them, also in what a user wrote.
    """
    return json_text.replace("{{", r"{\u007b")


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
"""A path segment: letters, digits, dot, underscore, hyphen; at most 128 characters."""
