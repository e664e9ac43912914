"""An OpenAI-compatible server, asked for greedy answers with what each server tells of tokens and likelihoods."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from iikata.core.errors import IikataError
from iikata.core.text import redact
from iikata.metrics.endpoint import post, trusted

KEY = "IIKATA_ENDPOINT_KEY"
"""Environment variable of the server's key, which is never written anywhere."""
REFUSED = (400, 422)
"""What servers say to a setting that they do not know."""


@dataclass(frozen=True)
class Reply:
    text: str
    finish: str | None
    prompt_tokens: int | None
    """As the server counts them; None where it does not say."""
    logprobs: tuple[float, ...] = ()
    """Of each new token, in nats; empty where the server gives none."""


class OpenAiServer:
    """The completions and the chat endpoint of one model on one server."""

    def __init__(self, url: str, model: str, api_key: str = "", timeout: float = 120.0) -> None:
        """`url` goes up to and with the version (`http://127.0.0.1:8000/v1`), which may be left out."""
        if not url.startswith(("http://", "https://")):
            raise IikataError(f"--endpoint {url}: an address that begins with http:// or https:// is allowed.")
        bare = url.rstrip("/")
        self.url = bare if bare.partition("://")[2].count("/") else f"{bare}/v1"
        self.model, self.timeout = model, timeout
        self._key = api_key.strip()
        self._logprobs = True

    def reach(self) -> None:
        """Raise IikataError where nothing answers at the address."""
        import httpx2

        try:
            self._models()
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise self._silent("/models", error) from None

    def complete(self, prompt: str, tokens: int, stop: Sequence[str] = ()) -> Reply | None:
        """Go on from a text; None where the server has no completions endpoint."""
        said = self._asked("/completions", {"prompt": prompt}, {"logprobs": 1}, tokens, stop)
        return None if said is None else self._read(said, lambda one: one["text"], _of_completions)

    def chat(self, turns: list[dict[str, str]], tokens: int, stop: Sequence[str] = ()) -> Reply | None:
        """Answer a conversation's last message; None where the server has no chat endpoint."""
        said = self._asked("/chat/completions", {"messages": turns}, {"logprobs": True}, tokens, stop)
        return None if said is None else self._read(said, lambda one: one["message"]["content"] or "", _of_chat)

    def _asked(
        self, path: str, what: dict[str, Any], likelihood: dict[str, Any], tokens: int, stop: Sequence[str]
    ) -> dict[str, Any] | None:
        body = {"model": self.model, **what, "max_tokens": tokens, "temperature": 0}
        body |= {"stop": list(stop)} if stop else {}
        if self._logprobs:
            status, said = self._post(path, body | likelihood)
            if status not in REFUSED:
                return self._answered(path, status, said)
        status, said = self._post(path, body)
        self._logprobs = self._logprobs and status != 200  # refused for the sake of its log-probabilities
        return self._answered(path, status, said)

    def _answered(self, path: str, status: int, said: Any) -> dict[str, Any] | None:
        if status == 200:
            return dict(said)
        if status in (404, 405, 501) and self.model not in str(said):
            return None
        why = {401: f"Is the key in {KEY} right?", 403: f"Is the key in {KEY} right?"}
        cure = why.get(status, f'Does it serve the model "{self.model}"?{self._known()}')
        raise IikataError(f"{self.url}{path}: {said}. {cure}")

    def _post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Return the status, and what was answered or why not."""
        import httpx2

        try:
            return 200, post(self.url + path, body, self._key, self.timeout)
        except httpx2.HTTPStatusError as error:
            return error.response.status_code, str(error)[:300]
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            raise self._silent(path, error) from None

    def _silent(self, path: str, error: Exception) -> IikataError:
        import httpx2

        if isinstance(error, httpx2.TimeoutException):
            return IikataError(
                f"{self.url}{path}: no answer within {self.timeout:g} s. A first request may load the model: "
                "ask again, or give it longer with --timeout SECONDS."
            )
        why = redact(str(error) or type(error).__name__)[:300]
        return IikataError(f"{self.url}{path}: no answer ({why}). Is the server up, and the address right?")

    def _models(self) -> Any:
        import httpx2

        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        return httpx2.get(f"{self.url}/models", headers=headers, timeout=self.timeout, verify=trusted())

    def _known(self) -> str:
        import httpx2

        with suppress(httpx2.HTTPError, ValueError, LookupError, TypeError, AttributeError):
            names = [str(one["id"]) for one in self._models().json()["data"]]
            return f" It lists: {', '.join(names[:8])}." if names else ""
        return ""

    def _read(self, said: dict[str, Any], text: Any, likelihoods: Any) -> Reply:
        try:
            choice = said["choices"][0]
            counted = (said.get("usage") or {}).get("prompt_tokens")
            given = choice.get("logprobs")
            logprobs = tuple(float(value) for value in likelihoods(given) if value is not None) if given else ()
            return Reply(str(text(choice)), choice.get("finish_reason"), counted, logprobs)
        except (LookupError, TypeError, AttributeError, ValueError):
            raise IikataError(
                f"{self.url}: not the answer of an OpenAI-compatible server: {redact(str(said))[:200]}."
            ) from None


def _of_completions(given: dict[str, Any]) -> list[Any]:
    # llama.cpp's server answers both endpoints in the shape of the chat's.
    return list(given["token_logprobs"]) if given.get("token_logprobs") else _of_chat(given)


def _of_chat(given: dict[str, Any]) -> list[Any]:
    return [one["logprob"] for one in given.get("content") or ()]
