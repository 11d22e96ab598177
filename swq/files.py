"""Writing files and folders so that a reader never sees half of one, also after a crash of the machine."""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from swq.errors import UserError

TEMPORARY = ".tmp"  # ends the name of a folder in which something is being written
OLD = "old"  # in it, the folder that is being replaced


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path; on success its file takes the place of `path`, on failure it is removed.

    The file is on the disk, and not only in the system's memory, before it gets its name.

    Raises:
        UserError: the disk is full, or a folder has the name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _beside(path) as folder, _naming_full_disk(path):
        temporary = folder / path.name
        yield temporary
        _as_others_files(temporary)
        _to_disk(temporary)
        if path.is_dir():
            raise UserError(f"{path} is a folder, and a file of that name has to be written; move it away")
        os.replace(temporary, path)
        _to_disk(path.parent)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty temporary folder; on success it takes the place of `folder`, on failure it is removed.

    The old folder goes only after the new one is in place. A kill between the two leaves both on the disk, and the next
    call puts the old one back before it begins.

    Raises:
        UserError: the disk is full.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _beside(folder) as temporary, _naming_full_disk(folder):
        new = temporary / "new"
        new.mkdir()
        yield new
        for path in (*new.rglob("*"), new):
            _as_others_files(path)
            _to_disk(path)
        with suppress(FileNotFoundError):
            os.replace(folder, temporary / OLD)
        os.replace(new, folder)
        _to_disk(folder.parent)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path` that no other process uses, and remove it afterwards.

    Its owner holds a lock on it, which the system releases when the owner dies, however it dies. So what killed
    processes left behind can be told from what living ones are writing, in other containers too.
    """
    _tidy(path)
    temporary, handle = _locked(path)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(handle)


def _locked(path: Path) -> tuple[Path, int]:
    """Make a temporary folder and lock it."""
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
        temporary.mkdir()
        handle = os.open(temporary, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if temporary.exists():  # else another process took it for left behind, before it was locked
            return temporary, handle
        os.close(handle)


def _tidy(path: Path) -> None:
    """Remove what killed processes left beside `path`; put a folder back that one had just moved aside."""
    for temporary in path.parent.glob(f".{glob.escape(path.name)}.*{TEMPORARY}"):
        with suppress(FileNotFoundError):  # removed meanwhile
            handle = os.open(temporary, os.O_RDONLY)
            try:
                if try_lock(handle):  # else its owner is alive
                    if (temporary / OLD).exists() and not path.exists():
                        os.replace(temporary / OLD, path)
                    shutil.rmtree(temporary, ignore_errors=True)
            finally:
                os.close(handle)


def try_lock(handle: int | IO[str]) -> bool:
    """Lock an open file or folder, if no other process holds its lock, and say whether that was so."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _as_others_files(path: Path) -> None:
    """Let a file be read by whom the user's other files are: safetensors leaves its own to their owner alone."""
    if path.is_file() and not path.is_symlink():
        mask = os.umask(0)
        os.umask(mask)
        path.chmod(0o666 & ~mask)


def _to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _naming_full_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # safetensors reports a full disk as its own exception, with the OS's words in it.
        if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error):
            raise UserError(f"no space left on the disk while writing {path}") from error
        raise


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sha256_file(path: Path) -> str:
    """Return the hex SHA-256 of a file's bytes, read in pieces."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
