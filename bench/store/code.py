"""The code that decides a stage's result, as dvc.yaml lists it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from swq.files import sha256_file

DVC_YAML = Path("dvc.yaml")
CODE = ("bench/", "swq/")


def code_of(stage: str, given: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the SHA-256 of every Python file that a stage depends on.

    Args:
        stage: its name in dvc.yaml.
        given: what stands for `${NAME}` there, by name, such as `item.method.name`.
    """
    listed = yaml.safe_load(DVC_YAML.read_text(encoding="utf-8"))["stages"][stage]
    found: dict[str, str] = {}
    for dependency in listed.get("do", listed)["deps"]:
        if dependency.startswith(CODE):
            path = Path(_filled(dependency, given or {}))
            files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
            found |= {str(file): sha256_file(file) for file in files}
    return found


def _filled(dependency: str, given: Mapping[str, str]) -> str:
    for name, value in given.items():
        dependency = dependency.replace(f"${{{name}}}", value)
    return dependency
