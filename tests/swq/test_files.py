"""Atomic writing: a reader sees the old file or the new one, never half of one."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from swq.errors import UserError
from swq.files import atomic_folder, atomic_path, sha256_file, write_text
from tests.support.repository import ROOT


def test_file_is_replaced_and_its_folder_made(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder" / "file.txt"
    write_text(path, "old")
    write_text(path, "nöw")
    assert path.read_text(encoding="utf-8") == "nöw"
    assert list(path.parent.iterdir()) == [path]


def test_reader_of_the_old_file_keeps_it(tmp_path: Path) -> None:
    """The new file takes the old one's name; writing into the old one would change it under its reader."""
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with path.open(encoding="utf-8") as reader:
        write_text(path, "new")
        assert reader.read() == "old"
    assert path.read_text(encoding="utf-8") == "new"


def test_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(ValueError, match="halfway"), atomic_path(path) as temporary:
        temporary.write_text("ne")
        raise ValueError("halfway")
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_full_disk_is_one_line_for_the_user(tmp_path: Path, error: Exception) -> None:
    """The second is how safetensors words it."""
    message = r"no space left on the disk while writing .*file\.bin"
    with pytest.raises(UserError, match=message), atomic_path(tmp_path / "file.bin") as temporary:
        temporary.write_bytes(b"half")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a power loss leaves a name over zeros. And the name itself is brought to the disk."""
    done: list[str] = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(
        os, "fsync", lambda handle: (done.append(f"sync {os.readlink(f'/proc/self/fd/{handle}')}"), sync(handle))
    )
    monkeypatch.setattr(os, "replace", lambda old, new: (done.append(f"name {Path(new).name}"), replace(old, new)))
    write_text(tmp_path / "file.txt", "new")
    assert [line.split("/")[0] + line.split("/")[-1] if "sync" in line else line for line in done] == [
        "sync file.txt",
        "name file.txt",
        f"sync {tmp_path.name}",
    ]
    done.clear()
    with atomic_folder(tmp_path / "folder") as folder:
        (folder / "inside").mkdir()
        (folder / "inside/a.txt").write_text("a")
    named = next(i for i, line in enumerate(done) if line.startswith("name"))
    assert {line.rsplit("/", 1)[1] for line in done[:named]} == {"new", "inside", "a.txt"}


def test_folder_is_replaced_with_everything_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    for name in ("old", "new"):
        with atomic_folder(folder) as temporary:
            (temporary / name).write_text(name)
    assert [path.name for path in folder.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [folder]


def test_failed_folder_leaves_the_old_one_and_nothing_beside_it(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "folder") as temporary:
        (temporary / "a").write_text("a")
    with pytest.raises(ValueError, match="halfway"), atomic_folder(tmp_path / "folder") as temporary:
        (temporary / "b").write_text("b")
        raise ValueError("halfway")
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["folder", "folder/a"]


WRITE_AND_DIE = """
import os, signal, sys
from pathlib import Path
from swq.files import atomic_folder, atomic_path
die_at, replace = int(sys.argv[1]), os.replace
calls = []
def dying(*names):
    calls.append(names)
    if len(calls) == die_at:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*names)
os.replace = dying
with atomic_folder(Path("folder")) as folder:
    (folder / "new").write_text("new")
with atomic_path(Path("file")) as path:
    path.write_text("new")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("die_at", "old"), [(1, True), (2, True), (3, False), (4, False)])
def test_killed_write_loses_neither_the_old_nor_the_new(tmp_path: Path, die_at: int, old: bool) -> None:
    """Killed before the old folder moves aside, before the new one takes its place, before the file does, and after."""
    with atomic_folder(tmp_path / "folder") as folder:
        (folder / "old").write_text("old")
    write_text(tmp_path / "file", "old")
    command = [sys.executable, "-c", WRITE_AND_DIE, str(die_at)]
    assert subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}).returncode == -9
    assert (tmp_path / "file").read_text() == ("new" if die_at == 4 else "old")
    for name in ("folder", "file"):  # the next writer puts things right before it begins, also if it fails
        with pytest.raises(ValueError, match="stop"), atomic_folder(tmp_path / name):
            raise ValueError("stop")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["old" if old else "new"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_writer_leaves_the_temporary_files_of_a_living_one_alone(tmp_path: Path) -> None:
    """In another container it may have the same process id."""
    path = tmp_path / "file.txt"
    with atomic_path(path) as first:
        first.write_text("first")
        write_text(path, "second")
        assert first.read_text() == "first" and path.read_text() == "second"
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_hash_is_sha256_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_files_get_the_permissions_of_the_users_others(tmp_path: Path) -> None:
    """safetensors leaves its files to their owner alone."""
    for written in (tmp_path / "file", tmp_path / "folder"):
        with (atomic_path if written.name == "file" else atomic_folder)(written) as place:
            inner = place if written.name == "file" else place / "inner"
            inner.touch(mode=0o600)
    plain = tmp_path / "plain"
    plain.touch()
    for path in (tmp_path / "file", tmp_path / "folder/inner"):
        assert path.stat().st_mode == plain.stat().st_mode
