"""The code that decides a stage's result, as dvc.yaml lists it."""

from __future__ import annotations

from pathlib import Path

import yaml

from swq.files import sha256_file

DVC_YAML = Path("dvc.yaml")
CODE = ("bench/", "swq/")


def code_of(stage: str, **item: str) -> dict[str, str]:
    """Return the SHA-256 of every Python file that a stage depends on.

    Args:
        stage: its name in dvc.yaml.
        item: what stands for `${item.NAME}` there, with '_' for '.' in the name.
    """
    listed = yaml.safe_load(DVC_YAML.read_text(encoding="utf-8"))["stages"][stage]
    found: dict[str, str] = {}
    for dependency in listed.get("do", listed)["deps"]:
        if dependency.startswith(CODE):
            path = Path(_filled(dependency, item))
            files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
            found |= {str(file): sha256_file(file) for file in files}
    return found


def _filled(dependency: str, item: dict[str, str]) -> str:
    for name, value in item.items():
        dependency = dependency.replace(f"${{item.{name.replace('_', '.')}}}", value)
    return dependency
