"""A chat model behind an OpenAI-compatible endpoint, each of its replies asked for once and kept."""

import hashlib
import ssl
import time
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from iikata.core.errors import IikataError
from iikata.core.io import Appender, parse_json, read_jsonl
from iikata.core.text import redact

TRIES = 3
MOST_BYTES = 1 << 22
"""Of a response; a reply is a line."""


@dataclass(frozen=True)
class _Kept:
    key: str
    """sha256 of the model's name and the prompt."""
    reply: str


class Endpoint:
    """Replies at temperature 0, cached in a JSON Lines file that a killed run goes on with."""

    def __init__(self, url: str, model: str, cache_path: Path, api_key: str | None, timeout: float) -> None:
        self.address = url.rstrip("/") + "/chat/completions"
        self.model = model
        self.cache_path = cache_path
        self.api_key = (api_key or "").strip()
        self.timeout = timeout

    def reply(self, prompt: str) -> str:
        """Return the model's reply; raises IikataError where the endpoint cannot be reached or refuses."""
        key = hashlib.sha256(f"{self.model}\n{prompt}".encode()).hexdigest()
        if key not in self._replies:
            self._replies[key] = self._asked(prompt)
            with Appender(self.cache_path) as cache:
                cache.add({"key": key, "reply": self._replies[key]})
        return self._replies[key]

    @cached_property
    def _replies(self) -> dict[str, str]:
        kept = read_jsonl(self.cache_path, _Kept, "Delete the line to have the judge asked again.")
        return {line.key: line.reply for line in kept}

    def _asked(self, prompt: str) -> str:
        import httpx2  # late: most runs have no judge

        for attempt in range(1, TRIES + 1):
            try:
                return self._once(prompt)
            except (IikataError, httpx2.HTTPError, httpx2.InvalidURL, ValueError, LookupError, TypeError) as error:
                status = error.response.status_code if isinstance(error, httpx2.HTTPStatusError) else 500
                if attempt == TRIES or (status < 500 and status != 429):
                    why = redact(str(error) or type(error).__name__)[:300]
                    break
            time.sleep(2**attempt)
        raise IikataError(
            f"judge: {self.address} gave no answer ({why}). Is the server up, does it serve "
            f'the model "{self.model}", and is the key right? All replies so far are kept.'
        )

    def _once(self, prompt: str) -> str:
        body = {"model": self.model, "temperature": 0, "messages": [{"role": "user", "content": prompt}]}
        said = post(self.address, body, self.api_key, self.timeout)
        # A server may say back what it was sent, key and all, and replies are kept in the run folder.
        return redact(str(said["choices"][0]["message"]["content"]))


def post(address: str, body: dict[str, Any], api_key: str, timeout: float) -> dict[str, Any]:
    """Return the JSON object that a server answers with; raises httpx2's errors, ValueError and IikataError."""
    import httpx2

    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    content = b""
    # httpx follows no redirect: where the address sends on to, nobody meant to send the key and the answers.
    with httpx2.stream("POST", address, json=body, headers=headers, timeout=timeout, verify=trusted()) as response:
        for chunk in response.iter_bytes():
            content += chunk
            if len(content) > MOST_BYTES:
                raise ValueError(f"more than {MOST_BYTES:,} bytes")
        if not response.is_success:
            why = f"status {response.status_code}: {redact(content.decode(errors='replace'))}"
            raise httpx2.HTTPStatusError(why, request=response.request, response=response)
    return parse_json(content, dict[str, Any], address, "")


@cache
def trusted() -> ssl.SSLContext:
    """Return the certificates that are trusted, read once: for each request they took 40 ms."""
    import httpx2

    return httpx2.create_ssl_context()
