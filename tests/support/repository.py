"""Where the repository is. Nothing else under tests/ looks for it."""

from __future__ import annotations

from pathlib import Path


def _root() -> Path:
    """Return the folder above this file that holds pyproject.toml, wherever in tests/ this file lies."""
    for folder in Path(__file__).resolve().parents:
        if (folder / "pyproject.toml").is_file():
            return folder
    raise FileNotFoundError(f"no folder above {__file__} holds a pyproject.toml")


ROOT = _root()
REFERENCE = ROOT / "tests" / "reference"  # values recorded from the authors' code
