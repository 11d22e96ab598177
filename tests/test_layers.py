"""The library's floors: imports point downwards, and no file names a device."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import swq

LIBRARY = Path(swq.__file__).parent
FILES = sorted(LIBRARY.rglob("*.py"))

# A module may import from its own floor and from those below.
FLOORS = {
    "__init__": 0,
    "errors": 0,
    "files": 0,
    "seeding": 0,
    "quant": 1,
    "losses": 1,
    "models": 1,
    "checkpoint": 2,
    "calibration": 2,
    "perplexity": 2,
    "methods": 2,
    "reconstruct": 3,
}


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the dotted names that a file imports, also inside functions; relative ones keep their dots."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def device_names(tree: ast.AST) -> list[str]:
    """Return every `.cuda(...)` call and every string that is a device."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "cuda":
            found.append(f"line {node.lineno}: .cuda()")
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"cuda(:.*)?", node.value):
            found.append(f"line {node.lineno}: {node.value!r}")
    return found


def upward_imports(tree: ast.AST, module: str) -> list[str]:
    """Return what a file of `module` (e.g. "methods") imports from `swq` that lies above its floor."""
    parts = [name.split(".") for name in imports(tree)]
    used = {part[1] for part in parts if part[0] == "swq" and len(part) > 1}
    return sorted(name for name in used & FLOORS.keys() if FLOORS[name] > FLOORS[module])


def parse(path: Path) -> ast.AST:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def module_of(path: Path) -> str:
    """Return the module or package of `swq` that a file belongs to."""
    return path.relative_to(LIBRARY).parts[0].removesuffix(".py")


by_path = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(LIBRARY)))


@by_path
def test_library_does_not_know_the_suite(path: Path) -> None:
    """It must stay usable alone, and relative imports would slip past the checks below."""
    names = list(imports(parse(path)))
    assert not [name for name in names if name.split(".")[0] in ("bench", "tests") or name.startswith(".")]


@by_path
def test_library_names_no_device(path: Path) -> None:
    """Fabric owns the device; a name here would break the CPU or a second GPU."""
    assert device_names(parse(path)) == []


@by_path
def test_imports_point_downwards(path: Path) -> None:
    assert module_of(path) in FLOORS, f"{module_of(path)} has no floor: add it to FLOORS"
    assert upward_imports(parse(path), module_of(path)) == []


def test_checks_see_what_they_forbid() -> None:
    """A check that never fires looks like a clean library."""
    bad = ast.parse(
        "def f():\n from swq import reconstruct\n import swq.methods.rtn\n from bench.config import x\n"
        "x.cuda()\nx.to('cuda:1')\ny = 'cuda'\n'about cuda in words'\n"
    )
    assert upward_imports(bad, "quant") == ["methods", "reconstruct"]
    assert upward_imports(bad, "methods") == ["reconstruct"]
    assert "bench.config" in set(imports(bad))
    assert len(device_names(bad)) == 3
