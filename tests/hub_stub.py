"""A stub of the hub's API on this machine that takes a model's upload: who, what is there, commit, LFS."""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import loopback

TOKEN = "hf_TheTokenThatIsNeverShown"


class Hub:
    """One owner's repositories; a test says what the token may and how the hub fails."""

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.role = "write"
        self.fail: dict[str, int] = {}
        """Part of a path -> the status that it is answered with."""
        self.objects: dict[str, bytes] = {}
        self.tokens: set[str | None] = set()
        self.address = ""

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        if status := next((status for part, status in self.fail.items() if part in path), 0):
            return status, {"error": f"refused, Bearer {TOKEN}"}
        parts = path.partition("?")[0].strip("/").split("/")
        repo = "/".join(parts[2:4])
        if parts == ["api", "whoami-v2"]:
            return 200, {"name": "owner", "type": "user", "auth": {"accessToken": {"role": self.role}}}
        if parts == ["api", "repos", "create"]:
            return self.create(json.loads(body))
        if parts == ["api", "validate-yaml"]:
            return 200, {"warnings": [], "errors": []}
        if "preupload" in parts:
            files = [self.mode(one["path"]) for one in json.loads(body)["files"]]
            return 200, {"files": files}
        if parts[-3:] == ["lfs", "objects", "batch"]:
            return 200, {"transfer": "basic", "objects": [self.action(one) for one in json.loads(body)["objects"]]}
        if parts[0] == "put":
            self.objects[parts[1]] = body
            return 200, {}
        if "commit" in parts:
            return self.commit(repo, [json.loads(line) for line in body.splitlines() if line])
        if parts[:2] == ["api", "models"]:
            return self.model(repo) if repo in self.repos else (404, {"error": "Repository not found"})
        return 404, {"error": f"{method} {path}"}

    def model(self, repo: str) -> tuple[int, Any]:
        siblings = [{"rfilename": name} for name in self.repos[repo]]
        return 200, {"id": repo, "private": self.private[repo], "siblings": siblings, "sha": "0" * 40}

    def create(self, asked: dict[str, Any]) -> tuple[int, Any]:
        repo = f"{asked.get('organization') or 'owner'}/{asked['name']}"
        self.repos[repo] = {}
        self.private[repo] = bool(asked.get("private")) or asked.get("visibility") == "private"
        return 200, {"url": f"{self.address}/{repo}"}

    def mode(self, name: str) -> dict[str, Any]:
        kind = "lfs" if name.endswith(".safetensors") else "regular"
        return {"path": name, "uploadMode": kind, "shouldIgnore": False, "oid": None}

    def action(self, one: dict[str, Any]) -> dict[str, Any]:
        return {**one, "actions": {"upload": {"href": f"{self.address}/put/{one['oid']}", "header": {}}}}

    def commit(self, repo: str, lines: list[dict[str, Any]]) -> tuple[int, Any]:
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.repos[repo][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                content = self.objects[value["oid"]]
                assert hashlib.sha256(content).hexdigest() == value["oid"]
                self.repos[repo][value["path"]] = content
        return 200, {"commitUrl": f"{self.address}/{repo}/commit/abc", "commitOid": "abc", "success": True}


class Handler(loopback.Handler):
    def _answer(self) -> None:
        hub, body = self.server.stub, self.body()
        hub.tokens.add(self.headers["Authorization"])
        status, said = hub.answer(self.command, self.path, body)
        content = json.dumps(said).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = _answer  # noqa: N815 - the library's names

    def body(self) -> bytes:
        if self.headers["Transfer-Encoding"] == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers["Content-Length"] or 0))


@contextmanager
def serving() -> Iterator[Hub]:
    """Serve until the block ends."""
    hub = Hub()
    with loopback.serving(Handler, hub) as hub.address:
        yield hub
