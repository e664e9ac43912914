"""Hand an arm to the hub: who may, what goes up, and the upload through huggingface_hub; the token is never shown."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iikata.core.errors import IikataError
from iikata.core.text import redact

if TYPE_CHECKING:
    from huggingface_hub import HfApi

TOKEN = "Make one with the right to write at the hub's settings, then: hf auth login (or set HF_TOKEN)."
FAULTS = {
    401: f"the hub does not take the token. {TOKEN}",
    403: f"the token has not the right to write there. {TOKEN}",
    404: "there is no such owner or repository, or the token may not see it.",
}
"""HTTP status -> what it means here."""


@dataclass(frozen=True)
class Hub:
    """A repository of the hub, and who writes there."""

    repo: str
    user: str
    endpoint: str
    private: bool | None
    """Of a repository that is there already; None for one that is to be made."""
    files: tuple[str, ...]
    """What lies there already; a file of the same name is replaced."""


def ask_hub(repo: str) -> Hub:
    """Return what the hub says of the repository, nothing of which is changed.

    Raises IikataError where the name is none, where there is no token, or one that may not write.
    """
    from huggingface_hub.errors import RepositoryNotFoundError
    from huggingface_hub.utils import get_token

    from iikata.model.files.locate import HUB_ID

    if not HUB_ID.fullmatch(repo):
        raise IikataError(f'"{repo}" is no name of a repository: owner/name is allowed.')
    if not get_token():
        raise IikataError(f"there is no token of the hub on this machine. {TOKEN}")
    api = _api()
    with told(repo):
        who = api.whoami()
        if who.get("auth", {}).get("accessToken", {}).get("role") == "read":
            raise IikataError(f"{repo}: the token of {who['name']} may only read. {TOKEN}")
        try:
            found = api.model_info(repo)
        except RepositoryNotFoundError:
            return Hub(repo, who["name"], api.endpoint, None, ())
        names = tuple(file.rfilename for file in found.siblings or ())
        return Hub(repo, who["name"], api.endpoint, bool(found.private), names)


def upload(folder: Path, hub: Hub, private: bool, message: str) -> str:
    """Make the repository where it is not there, upload the folder as one commit, and return its address."""
    api = _api()
    with told(hub.repo):
        if hub.private is None:
            api.create_repo(hub.repo, private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=hub.repo, folder_path=folder, commit_message=message).commit_url)


def _api() -> "HfApi":
    from huggingface_hub import HfApi

    return HfApi(endpoint=os.environ.get("HF_ENDPOINT"))


@contextmanager
def told(repo: str) -> Iterator[None]:
    """Turn what the hub's client raises into a sentence that holds no token."""
    from huggingface_hub.utils import get_token

    try:
        yield
    except IikataError:
        raise
    except Exception as error:  # the client raises a dozen kinds: HTTP, offline, names, files
        response: Any = getattr(error, "response", None)
        status = getattr(response, "status_code", None)
        said = redact(str(error)).replace(get_token() or "\0", "⟨token⟩").strip().partition("\n")[0][:200]
        why = FAULTS.get(status or 0, "check the network; nothing is shown there before the upload is whole.")
        raise IikataError(f"{redact(_api().endpoint)}/{repo}: {said or type(error).__name__}: {why}") from None
