"""job: passwords and tokens, which stand in no configuration, no file of a run and no message."""

import os
import re

_WORDS = r"passw|pwd|token|secret|signature|credential|api_?key|access_?key|private_?key"
_NAME = re.compile(_WORDS, re.IGNORECASE)
# A password may hold anything, even `@` and `/`: it ends at the last `@`.
_PAIR = r"[^\s/@:]*:(?!\d+(?:/|\s|$))\S{0,1000}@"  # no port, which a path follows
_USER = re.compile(rf"(?<=://)(?:{_PAIR}|[^\s/]*@)")
_PASSWORD = re.compile(rf"://{_PAIR}|https?://[^\s/]*@", re.IGNORECASE)
_QUERY = re.compile(rf"([?&;](?:[\w.-]*(?:{_WORDS})[\w.-]*|sig)=)[^&;\s'\"]+", re.IGNORECASE)
_FOLDERS = ("PWD", "OLDPWD")
MIN_LENGTH = 6
"""Of a value of the environment that is a secret, and no `true` or `1`."""


def holds_secret(text: str) -> bool:
    """Return whether a text holds an address with a password, or with a signature in its query."""
    return bool(_PASSWORD.search(text) or _QUERY.search(text))


def without_secrets(text: str) -> str:
    """Return a text without users and passwords of addresses and secrets of the environment."""
    text = _QUERY.sub(r"\1***", _USER.sub("***@", text))
    for name, value in os.environ.items():
        if len(value) >= MIN_LENGTH and _NAME.search(name) and name not in _FOLDERS:
            text = text.replace(value, "***")
    return text
