"""A hub and a package index on the loopback address that break off, lie or vanish as they are told."""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

import loopback

COMMIT = "c" * 40
LARGE = ".safetensors"
"""Files that end so go by the sha256 of their content, others by their git sha1, as on the hub."""


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Stub:
    """What is served: path -> content; and how: whole, or broken as `fault` says for the paths in `faulty`."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.fault = ""
        """"cut": half of it, then the line is closed; "other": other bytes of the same length; or an HTTP status."""
        self.faulty = ""
        """Paths that end so are broken."""
        self.asked: list[str] = []
        self.url = ""

    def answer(self, request: BaseHTTPRequestHandler, body: bool) -> None:
        path = request.path.partition("?")[0]
        self.asked.append(f"{request.command} {path}")
        content, headers = self.found(path)
        broken = self.fault if content is not None and path.endswith(self.faulty or "\0") else ""
        if content is None or broken.isdigit():
            request.send_error(int(broken or 404))
            return
        if broken == "other":
            content = bytes(255 - byte for byte in content)
        request.send_response(200)
        request.send_header("Connection", "close")  # else a client may ask again on a line that is being closed
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        if body:
            request.wfile.write(content[: len(content) // 2] if broken == "cut" else content)
        request.close_connection = True

    def found(self, path: str) -> tuple[bytes | None, dict[str, str]]:
        """Return what lies at `path`, None for nothing, and its headers."""
        kind = "text/html" if path.endswith("/") else "application/octet-stream"
        return self.files.get(path), {"Content-Type": kind}


class Hub(Stub):
    """Serves the files of one model, `owner/name`."""

    def found(self, path: str) -> tuple[bytes | None, dict[str, str]]:
        if path.startswith("/api/models/owner/name/tree/"):
            return json.dumps([self._entry(name) for name in sorted(self.files)]).encode(), JSON
        if path.startswith("/api/models/owner/name"):
            listed = [{"rfilename": name} for name in sorted(self.files)]
            return json.dumps({"id": "owner/name", "sha": COMMIT, "siblings": listed}).encode(), JSON
        start = f"/owner/name/resolve/{COMMIT}/"
        name = path.removeprefix(start)
        if not path.startswith(start) or name not in self.files:
            return None, {}
        return self.files[name], {"ETag": f'"{self._hash(name)}"', "X-Repo-Commit": COMMIT}

    def _hash(self, name: str) -> str:
        content = self.files[name]
        return hashlib.sha256(content).hexdigest() if name.endswith(LARGE) else git_sha1(content)

    def _entry(self, name: str) -> dict[str, Any]:
        content = self.files[name]
        entry = {"type": "file", "path": name, "size": len(content), "oid": git_sha1(content)}
        lfs = {"oid": self._hash(name), "size": len(content), "pointerSize": 130}
        return entry | ({"lfs": lfs} if name.endswith(LARGE) else {})


JSON = {"Content-Type": "application/json"}


class Handler(loopback.Handler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:  # noqa: N802 - the library's name
        self.server.stub.answer(self, body=self.command == "GET")

    do_HEAD = do_GET  # noqa: N815


@contextmanager
def served(stub: Stub) -> Iterator[Stub]:
    """Serve `stub` while this lasts."""
    with loopback.serving(Handler, stub) as stub.url:
        yield stub


def wheel(files: dict[str, bytes], name: str = "tiny_model", version: str = "1.0") -> bytes:
    """Return a wheel that holds `files` and the metadata that pip asks for."""
    about = f"{name}-{version}.dist-info"
    metadata = {
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{about}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/RECORD": b"",
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path, content in (files | metadata).items():
            archive.writestr(zipfile.ZipInfo(path), content)
    return packed.getvalue()
