"""Checksums of a stage's files: written when it ends, compared before anything is read."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.store.checksums import SUMS, check, seal
from swq.errors import UserError
from swq.files import sha256_file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sealed folder with a file, and another in a folder below."""
    (tmp_path / "below").mkdir()
    (tmp_path / "one.txt").write_text("one")
    (tmp_path / "below/two words.txt").write_text("two")
    seal(tmp_path)
    return tmp_path


def test_every_file_is_listed_and_checked(folder: Path) -> None:
    lines = (folder / SUMS).read_text().splitlines()
    assert lines == [f"{sha256_file(folder / name)}  {name}" for name in ("below/two words.txt", "one.txt")]
    check(folder)
    check(folder, ["one.txt"])


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum here")
def test_sha256sum_reads_it_too(folder: Path) -> None:
    assert subprocess.run(["sha256sum", "--check", "--quiet", SUMS], cwd=folder, check=False).returncode == 0


def test_sealed_again_is_the_same(folder: Path) -> None:
    before = (folder / SUMS).read_bytes()
    seal(folder)
    assert (folder / SUMS).read_bytes() == before, "the list is not in itself"


def test_only_what_was_named_is_sealed(folder: Path) -> None:
    seal(folder, ["one.txt"])
    (folder / "below/two words.txt").write_text("2")
    check(folder)
    with pytest.raises(UserError, match=r"two words.txt is missing, or its folder is damaged"):
        check(folder, ["below/two words.txt"])


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (Path.unlink, "one.txt is missing"),
        (as_folder, "one.txt is missing"),
        (lambda path: path.write_bytes(b"onf"), "one.txt is damaged: its bytes are not those that were written"),
        (lambda path: path.write_bytes(b""), "one.txt is damaged"),
    ],
    ids=["missing", "folder", "flipped", "empty"],
)
def test_damaged_file_is_named_with_the_way_out(folder: Path, damage: Callable[[Path], object], said: str) -> None:
    damage(folder / "one.txt")
    for names in (None, ["one.txt"]):
        with pytest.raises(UserError, match=f"{said}.*; remove {folder} and run `python -m bench run`"):
            check(folder, names)
    check(folder, ["below/two words.txt"])


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        as_folder,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:70]),
        lambda path: path.write_bytes(b"\xff" + path.read_bytes()),
        lambda path: path.write_text("no list\n"),
    ],
    ids=["missing", "folder", "empty", "cut-off", "not-utf8", "another-text"],
)
def test_damaged_list_vouches_for_nothing(folder: Path, damage: Callable[[Path], object]) -> None:
    damage(folder / SUMS)
    with pytest.raises(UserError, match=r"is missing|is damaged"):
        check(folder, ["one.txt"])
