"""The package of docs/plugins.md, as files, and installed in a folder as pip does it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.support.pages import PAGES

NAMED = re.compile(r"`(pyproject\.toml|mine/\w+\.\w+)`.*?\n```\w+\n(.*?)```\n", re.DOTALL)


def example_files() -> dict[str, str]:
    """Return the files that the page shows, by name."""
    return {"mine/__init__.py": ""} | dict(NAMED.findall(PAGES["docs/plugins.md"]))


def install_example(source: Path, target: Path) -> None:
    """Write the package to `source`, build it, and install it in `target`, without a network."""
    for name, text in example_files().items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text, encoding="utf-8")
    quiet = ("--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")
    command = [sys.executable, "-m", "pip", "install", *quiet, "--target", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
