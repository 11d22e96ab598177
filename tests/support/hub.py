"""A Hugging Face hub on loopback, for tests of what is fetched from one: the real client libraries over real HTTP.

The client libraries read HF_ENDPOINT when they are imported, so what asks this hub runs in a process of its own:

    with Hub() as hub:
        hub.add("dataset", "someone/texts", folder, revision="0" * 40)
        subprocess.run([sys.executable, "-c", ...], env=hub.environment(home=tmp_path))
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Self
from urllib.parse import parse_qs, unquote, urlsplit

Kind = Literal["model", "dataset"]

MEMBER = "hf_member"  # the token of someone who may read gated repositories
STRANGER = "hf_stranger"  # the token of someone who may not; any other token is refused wherever it is sent
LARGE = {".bin", ".gz", ".parquet", ".safetensors", ".zst"}  # kept outside git, known by their SHA-256
NOT_INHERITED = ("HF_", "HUGGING", "TRANSFORMERS_OFFLINE")  # settings of whoever runs the tests

FILE = re.compile(r"/((?P<kind>dataset)s/)?(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
API = re.compile(
    r"/api/(?P<kind>model|dataset)s/(?P<repo>[^/]+/[^/]+)"
    r"(/(?P<what>revision|tree|paths-info)/(?P<revision>[^/]+)(/(?P<path>.+))?)?"
)


@dataclass(frozen=True)
class File:
    """A file as the hub describes it."""

    source: Path
    size: int
    oid: str  # git's name of the content
    sha256: str | None  # of a large file


def read_file(source: Path) -> File:
    """Take down a file's size and hashes."""
    content = source.read_bytes()
    oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return File(source, len(content), oid, hashlib.sha256(content).hexdigest() if source.suffix in LARGE else None)


@dataclass(frozen=True)
class Repo:
    """The files of a repository at its only revision, by their paths."""

    name: str
    revision: str
    branch: str
    gated: bool
    files: dict[str, File]

    def folders(self) -> set[str]:
        """Every folder but the root."""
        return {str(folder) for path in self.files for folder in PurePosixPath(path).parents} - {"."}

    def entry(self, path: str) -> dict[str, Any]:
        """What a listing says about a file or a folder."""
        file = self.files.get(path)
        if file is None:
            return {"type": "directory", "path": path, "size": 0, "oid": hashlib.sha1(path.encode()).hexdigest()}
        lfs = {"lfs": {"oid": file.sha256, "size": file.size, "pointerSize": 134}} if file.sha256 else {}
        return {"type": "file", "path": path, "size": file.size, "oid": file.oid, **lfs}

    def listing(self, folder: str, recursive: bool) -> list[dict[str, Any]]:
        """The entries in a folder, or all those below it."""
        start = f"{folder}/" if folder else ""
        below = [path for path in sorted({*self.files, *self.folders()}) if path.startswith(start)]
        return [self.entry(path) for path in below if recursive or "/" not in path.removeprefix(start)]


class Refused(Exception):
    """An answer other than what was asked for; the client tells such answers apart by their code."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {"X-Error-Code": code, "X-Error-Message": message, **(headers or {})}


class Hub:
    """Files from folders over real HTTP, each repository at the one revision that the hub was told."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[tuple[str, str]] = []  # (method, path) of everything that was asked
        self.cut_after: int | None = None  # the bytes of a file after which each connection breaks off
        self.down: int | None = None  # the status that everything is refused with, such as 503
        self.repos: dict[tuple[str, str], Repo] = {}

    def add(
        self, kind: Kind, repo: str, folder: Path, revision: str, gated: bool = False, branch: str = "main"
    ) -> None:
        """Publish the files of a folder as `repo` at `revision`, where `branch` stands; what was there is replaced."""
        if not re.fullmatch(r"[0-9a-f]{40}", revision):
            raise ValueError(f"a revision has 40 hexadecimal digits, got {revision!r}")
        sources = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        files = {source.relative_to(folder).as_posix(): read_file(source) for source in sources}
        self.repos[kind, repo] = Repo(repo, revision, branch, gated, files)

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Connection, self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def environment(self, home: Path, token: str = "") -> dict[str, str]:
        """The whole environment of a process that asks this hub, and no other, and keeps its caches in `home`."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(NOT_INHERITED)}
        return {
            **{name: value for name, value in inherited.items() if not name.lower().endswith("_proxy")},
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_TOKEN": token,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",
            "NO_PROXY": "*",
        }


class Connection(BaseHTTPRequestHandler):
    """A client's connection, and the answers to what it asks."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each body waits until its headers are acknowledged

    def __init__(self, hub: Hub, *connection: Any) -> None:
        self.hub = hub
        super().__init__(*connection)

    def do_GET(self) -> None:
        """Answer, or say why not."""
        url = urlsplit(self.path)
        self.hub.requests.append((self.command, unquote(url.path)))
        posted = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        fields = parse_qs(f"{url.query}&{posted}")
        try:
            token = self.token()
            if asked := FILE.fullmatch(url.path):
                self.send_file(self.repo(asked, token), unquote(asked["path"]), token)
            elif asked := API.fullmatch(url.path):
                told = self.describe(self.repo(asked, token), asked["what"], unquote(asked["path"] or ""), fields)
                self.send(200, json.dumps(told).encode(), {"Content-Type": "application/json"})
            else:
                raise Refused(404, "NotFound", f"nothing is at {url.path}")
        except Refused as refused:
            self.send(refused.status, json.dumps({"error": str(refused)}).encode(), refused.headers)

    do_HEAD = do_POST = do_GET

    def token(self) -> str:
        """The client's token; one that nobody has is refused even where none is needed."""
        if self.hub.down is not None:
            raise Refused(self.hub.down, "Down", "the hub is down")
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in ("", MEMBER, STRANGER):
            raise Refused(401, "", "Invalid credentials in Authorization header")
        return token

    def repo(self, asked: re.Match[str], token: str) -> Repo:
        """The repository, at the revision that was asked for."""
        repo = self.hub.repos.get((asked["kind"] or "model", asked["repo"]))
        if repo is None:  # it might be a private one, so whoever is not logged in is told to do so
            raise Refused(404 if token else 401, "RepoNotFound", "Repository not found")
        if unquote(asked["revision"] or repo.branch) not in (repo.branch, repo.revision):
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {asked['revision']}")
        return repo

    def describe(self, repo: Repo, what: str | None, path: str, fields: dict[str, list[str]]) -> object:
        """What the API says about a repository, a folder or some paths, to everyone even if it is gated."""
        if what == "paths-info":
            return [repo.entry(path) for path in fields["paths"] if path in {*repo.files, *repo.folders()}]
        if what == "tree":
            if path not in {"", *repo.folders()}:
                raise Refused(404, "EntryNotFound", f"{path} does not exist")
            return repo.listing(path, recursive=fields.get("recursive") == ["true"])
        siblings = [{"rfilename": path} for path in repo.files]
        return {"id": repo.name, "sha": repo.revision, "gated": "auto" if repo.gated else False, "siblings": siblings}

    def send_file(self, repo: Repo, path: str, token: str) -> None:
        """Send a file, or the part that was asked for, to whoever may read it."""
        if repo.gated and token != MEMBER:
            reason = "you are not in the authorized list" if token else "you must be authenticated to access it"
            raise Refused(403 if token else 401, "GatedRepo", f"Access to {repo.name} is restricted and {reason}.")
        file = repo.files.get(path)
        if file is None:
            raise Refused(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": repo.revision})
        headers = {"X-Repo-Commit": repo.revision, "Accept-Ranges": "bytes", "ETag": f'"{file.sha256 or file.oid}"'}
        if file.sha256:
            headers |= {"X-Linked-ETag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first, last = (int(part[1]), min(int(part[2] or file.size), file.size - 1)) if part else (0, file.size - 1)
        if part:
            headers["Content-Range"] = f"bytes {first}-{last}/{file.size}"
        self.send(206 if part else 200, file.source.read_bytes()[first : last + 1], headers, self.hub.cut_after)

    def send(self, status: int, body: bytes, headers: dict[str, str], cut_after: int | None = None) -> None:
        """Send headers and body, or only some bytes of it and no more on this connection."""
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:cut_after])
            self.close_connection |= len(body[:cut_after]) < len(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing; `Hub.requests` tells what was asked."""
