"""A copy of the project in a folder of its own, where tests run its commands as a user does."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.repository import ROOT


@dataclass
class Project:
    """A folder with the code and the pipeline, and what its commands run in.

    Attributes:
        folder: where it is.
        environment: of its commands; `python` may be a warm interpreter there (tests/support/warm_python.py).
    """

    folder: Path
    environment: dict[str, str]

    def run(self, *command: str, stdin: str | None = None, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the folder, with some variables changed, and wait for its end."""
        environment = self.environment | changes
        return subprocess.run(
            command, cwd=self.folder, env=environment, input=stdin, capture_output=True, text=True, check=False
        )

    def bench(self, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m bench`."""
        return self.run("python", "-m", "bench", *arguments, **changes)

    def cold(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m bench` in an interpreter that was started for it alone, as a user's is."""
        return self.run(sys.executable, "-m", "bench", *arguments)

    def cold_together(self, *lines: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run several commands of `python -m bench` one after the other in one such interpreter, up to a failure."""
        return self.run(sys.executable, "-c", TOGETHER, stdin="\n".join(lines), **changes)

    def repro(self) -> str:
        """Run `dvc repro` and return what it printed."""
        done = self.run("dvc", "repro")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


TOGETHER = """
import sys
from bench.__main__ import app
for line in sys.stdin.read().splitlines():
    app(line.split(), standalone_mode=False)
"""


def copy_project(folder: Path) -> None:
    """Copy what the pipeline is made of; `folder` is no git repository, and DVC is told so."""
    for name in ("bench", "swq", "conf"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, folder / name)
    settings = (ROOT / ".dvc/config").read_text(encoding="utf-8")
    (folder / ".dvc").mkdir()
    (folder / ".dvc/config").write_text(settings.replace("[core]\n", "[core]\n    no_scm = true\n"), encoding="utf-8")


def in_folder_with_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `folder` the current one; it sees the pipeline's code, which stages name in their states."""
    for name in ("bench", "swq", "dvc.yaml"):
        (folder / name).symlink_to(ROOT / name)
    monkeypatch.chdir(folder)


def ran(output: str) -> set[str]:
    """Return the stages that DVC says it ran."""
    return {line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")}
