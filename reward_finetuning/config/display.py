"""Values and errors as messages show them: short, and without secrets."""

from __future__ import annotations

import re
import reprlib

_USER = re.compile(r"(?<=://)(?:[^\s'\"<>/:@]+:[^\s'\"<>]*|[^\s'\"<>/]*)@")
_QUERY = re.compile(
    r"([?&;][^\s&=?;]*(?:token|passw(?:or)?d|secret|signature|credential|api[_-]?key)[^\s&=?;]*=|[?&;](?:key|sig|auth)=)"
    r"[^\s&'\"#;]+",
    re.IGNORECASE,
)
_HEADER = re.compile(r"\b(Basic|Bearer)(\s+)[A-Za-z0-9._~+/=-]{6,}")
_LONGEST_NUMBER_BITS = 256


def redacted(text: str) -> str:
    """The text without what may be a secret: users and passwords of URLs, tokens in queries and in headers."""
    text = _USER.sub("***@", text)
    text = _QUERY.sub(r"\1***", text)
    return _HEADER.sub(r"\1\2***", text)


def has_secret(url: str) -> bool:
    """Whether a URL holds a password or a token; a user name alone is none, except over HTTP, where it may be one."""
    user = _USER.search(url)
    is_password = user is not None and (":" in user[0] or url.startswith(("http://", "https://")))
    return is_password or _QUERY.search(url) is not None


def shown(value: object) -> str:
    """`repr` of a value from outside, at most a few hundred characters however large or nested it is."""
    return redacted(_SHORT.repr(value))


class _Short(reprlib.Repr):
    def repr_int(self, x: int, level: int) -> str:
        bits = x.bit_length()  # repr() refuses integers of more than 4300 digits
        return repr(x) if bits <= _LONGEST_NUMBER_BITS else f"an integer of {bits} bits"


_SHORT = _Short()
_SHORT.maxlevel = 3
_SHORT.maxdict = _SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxset = _SHORT.maxfrozenset = 4
_SHORT.maxstring = _SHORT.maxother = 160
