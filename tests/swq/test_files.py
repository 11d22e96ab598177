"""Atomic writing: a reader sees the old file or the new one, never half of one."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from swq.errors import UserError
from swq.files import atomic_path, sha256_file, write_text


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


def test_hash_is_sha256_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
