"""What other installed packages add: methods, losses, families and tasks, found by their entry points.

A package names an object of its own in its `pyproject.toml`:

    [project.entry-points."swq.methods"]
    my-method = "my_package.method:MyMethod"

It is found without a change here. Its source has a hash, because what it computes is part of every result made with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from swq.errors import UserError

METHODS, LOSSES, FAMILIES, TASKS = GROUPS = ("swq.methods", "swq.losses", "swq.families", "bench.tasks")


@dataclass(frozen=True)
class Plugin:
    """An object of another package.

    Attributes:
        value: the object.
        package: the top-level package or module that holds it.
        sha256: over that package's Python files, their places and contents.
    """

    value: Any
    package: str
    sha256: str


@cache
def plugins(group: str) -> dict[str, Plugin]:
    """Return what installed packages add to a group, by name.

    Raises:
        UserError: one cannot be imported, or two have one name.
    """
    found: dict[str, Plugin] = {}
    for point in sorted(entry_points(group=group), key=lambda point: (point.name, point.value)):
        if point.name in found:
            raise UserError(f"two installed packages add {point.name!r} to {group}; uninstall one of them")
        try:
            value = point.load()
        except Exception as error:
            why = " ".join(f"{type(error).__name__}: {error}".split())
            raise UserError(f"{group}: plug-in {point.name} = {point.value} cannot be imported ({why})") from error
        package = point.module.partition(".")[0]
        found[point.name] = Plugin(value, package, _source_sha256(package))
    return found


def added(group: str, kind: type, own: Container[str]) -> dict[str, Any]:
    """Return the objects that installed packages add to a group.

    Args:
        group: one of `GROUPS`.
        kind: what they must be an instance or, if they are classes, a subclass of.
        own: this project's names, which no plug-in may take.

    Raises:
        UserError: as `plugins`, or an object is of another kind, or takes a name of this project.
    """
    for name, plugin in plugins(group).items():
        value = plugin.value
        if not (issubclass(value, kind) if isinstance(value, type) else isinstance(value, kind)):
            raise UserError(f"{group}: plug-in {name} of package {plugin.package} is no {kind.__name__}")
        if name in own:
            raise UserError(f"{group}: plug-in {name} of package {plugin.package} has a name of this project's own")
    return {name: plugin.value for name, plugin in plugins(group).items()}


def _source_sha256(package: str) -> str:
    spec = find_spec(package)
    assert spec is not None, "it was just imported"
    digest = hashlib.sha256()
    # A package has folders, also without an __init__.py; a module has one file.
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    files = [(file, folder) for folder in folders for file in sorted(folder.rglob("*.py"))]
    if not folders and spec.origin:
        files = [(Path(spec.origin), Path(spec.origin).parent)]
    for file, folder in files:
        digest.update(f"{file.relative_to(folder).as_posix()}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()
