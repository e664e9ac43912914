"""What of a text may be shown: what hides in it is written out, and what must stay secret is named instead."""

import os
import re
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import quote, unquote

# Controls except tab and line feed; marks and overrides of direction; zero-width characters; line separators;
# soft hyphens; annotations; tags, in which a text can hide.
HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
HIDDEN_IN_SCRIPT = re.sub(r"[^][-]", lambda match: f"\\u{{{ord(match.group()):x}}}", HIDDEN.pattern)
"""The same as a regular expression of JavaScript, with its flag u."""
SECRET_NAME = re.compile("TOKEN|KEY|SECRET|PASSW|_PWD|CREDENTIAL", re.IGNORECASE)
LEAST = 8
"""Characters of a secret: a shorter value would be found in words that are none."""
_USER = re.compile(r"(?<=://)[^\s/?#'\"<>]*@")
_PASSWORD = re.compile(r"://[^\s/:@]*:([^\s/]+)@")


def safe_text(text: str) -> str:
    """Return `text` as it may be shown to anyone: escaped, and without secrets."""
    return escape(redact(text))


def escape(text: str) -> str:
    """Return `text` with every invisible character written out, as `⟨U+202E⟩`."""
    return HIDDEN.sub(lambda match: f"⟨U+{ord(match.group()):04X}⟩", text)


def redact(text: str) -> str:
    """Return `text` with the secrets of this process's environment as `⟨HF_TOKEN⟩`, and without users of addresses.

    A secret is the value, of 8 characters or more, of a variable whose name says so, and the password of an address
    (PIP_INDEX_URL, HTTPS_PROXY). It is found line by line, and quoted for an address, for JSON or by Python too.
    """
    if len(text) < LEAST:
        return text
    (names, pattern, parts), text = _secrets(tuple(os.environ.items())), _USER.sub("⟨…⟩@", text)
    if not any(part in text for part in parts):
        return text
    return pattern.sub(lambda match: f"⟨{names[match.lastindex or 0]}⟩", text)


@lru_cache(maxsize=1)
def _secrets(environment: tuple[tuple[str, str], ...]) -> tuple[list[str], re.Pattern[str], list[str]]:
    """Return the variables' names by the pattern's groups (which count from 1), the pattern, and a part of each secret.

    No quotation changes such a part: a text without any of them is passed at once.
    """
    # The longest first: one may hold another.
    forms = {(form, name) for name, value in environment for form in _forms(name, value)}
    found = sorted(forms, key=lambda one: (-len(one[0]), one[1]))
    pattern = re.compile("|".join(f"({_quoted(form)})" for form, _ in found))
    parts = [max(re.split(r"[\\/'\"]", form), key=len) for form, _ in found]
    return ["", *(name for _, name in found)], pattern, parts


def _forms(name: str, value: str) -> Iterator[str]:
    secrets = value.splitlines() if SECRET_NAME.search(name) else _PASSWORD.findall(value)
    for secret in map(str.strip, secrets):
        if len(secret) >= LEAST:
            forms = {secret, quote(secret, "", errors="surrogateescape"), unquote(secret)}
            yield from (form for form in forms if len(form) >= LEAST)


def _quoted(secret: str) -> str:
    """Return a pattern of the secret as it is, or with a backslash or more before what a quotation escapes.

    Slashes may have become one, as they do in a path.
    """
    loose = {"\\": r"\\+", "'": r"\\*'", '"': r'\\*"', "/": "/+"}
    parts = filter(None, re.split(r"(\\+|/+|['\"])", secret))
    return "".join(loose.get(part[0]) or re.escape(part) for part in parts)
