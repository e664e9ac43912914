"""A chat model behind an OpenAI-compatible endpoint, each of its replies asked for once and kept."""

import hashlib
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any

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


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Where the experiment's address sends on to, nobody meant to send the key and the answers."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


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
        attempt = 1
        while True:
            try:
                return self._once(prompt)
            except (IikataError, OSError, HTTPException, ValueError, LookupError, TypeError) as error:
                if isinstance(error, urllib.error.HTTPError):
                    error.close()
                refused = isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code != 429
                if refused or attempt == TRIES:
                    seen = redact(str(error) or type(error).__name__)[:300]
                    raise IikataError(
                        f"judge: {self.address} gave no answer ({seen}). Is the server up, does it serve "
                        f'the model "{self.model}", and is the key right? All replies so far are kept.'
                    ) from None
                time.sleep(2**attempt)
                attempt += 1

    def _once(self, prompt: str) -> str:
        body = {"model": self.model, "temperature": 0, "messages": [{"role": "user", "content": prompt}]}
        headers = {"Content-Type": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        request = urllib.request.Request(self.address, json.dumps(body).encode(), headers)
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=self.timeout) as response:
            content = response.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES:,} bytes")
        # A server may say back what it was sent, key and all, and replies are kept in the run folder.
        return redact(str(parse_json(content, dict[str, Any], self.address, "")["choices"][0]["message"]["content"]))
