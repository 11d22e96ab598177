"""The floors of both packages: imports point downwards and never in a circle, and no file names a device."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.support.imports import PACKAGES, files_of, imports_of, names, parse

FILES = [file for package in PACKAGES for file in files_of(package)]
LIBRARY = files_of("swq")

# A room, which is a folder or a file directly in its package, imports from itself and from the floors below its own.
FLOORS = {
    "swq": (
        ("errors", "identity", "seeding", "sliced_wasserstein"),
        ("files", "quant", "plugins", "calibration", "perplexity"),
        ("losses", "models", "tensor_file", "kernels"),
        ("methods", "streaming", "checkpoint", "pieces"),
        ("reconstruct", "packed", "measured", "repeat"),
        ("export",),
        ("api",),
        ("command",),
    ),
    "bench": (
        ("config", "store", "render", "imports"),
        ("runtime", "prepare", "analysis"),
        ("inputs", "published"),
        ("scoring", "preflight", "report"),
        ("stages", "runs", "speed", "power"),
        ("smoke",),
        ("commands",),
        ("__main__",),
    ),
}
MOST_FLOORS = 8  # with the entry point; more are hard to keep in mind
EMPTY = "__init__"  # of a package: it holds no code but names that are looked up when asked for

FLOOR = {f"{package}/{room}": level for package in FLOORS for level, on in enumerate(FLOORS[package]) for room in on}


def room_of(file: str) -> str:
    """Return the room that a file belongs to, e.g. `swq/methods` or `bench/runtime`."""
    return "/".join(file.removesuffix(".py").split("/")[:2])


def upward_imports(file: str, imported: frozenset[str]) -> list[str]:
    """Return what a file imports of its package's other rooms that is not below its own."""
    room = room_of(file)
    others = {other for other in map(room_of, imported) if other != room and not other.endswith(EMPTY)}
    same_package = {other for other in others if other.split("/")[0] == room.split("/")[0]}
    return sorted(other for other in same_package if FLOOR[other] >= FLOOR[room])


def circle(imports: Mapping[str, frozenset[str]]) -> list[str]:
    """Return files that import each other in a circle, or nothing."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def device_names(tree: ast.AST) -> list[str]:
    """Return every `.cuda(...)` call and every string that is a device."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "cuda":
            found.append(f"line {node.lineno}: .cuda()")
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"cuda(:.*)?", node.value):
            found.append(f"line {node.lineno}: {node.value!r}")
    return found


@pytest.mark.parametrize("file", LIBRARY)
def test_library_does_not_know_the_suite(file: str) -> None:
    """It must stay usable alone, and relative imports would slip past the checks below."""
    assert not [name for name in names(parse(file)) if name.split(".")[0] in ("bench", "tests") or name[0] == "."]


@pytest.mark.parametrize("file", files_of("bench"))
def test_suite_imports_by_whole_names(file: str) -> None:
    """Relative imports would slip past the checks below, and tests are not installed."""
    assert not [name for name in names(parse(file)) if name.split(".")[0] == "tests" or name[0] == "."]


@pytest.mark.parametrize("file", LIBRARY)
def test_library_names_no_device(file: str) -> None:
    """Fabric owns the device; a name here would break the CPU or a second GPU."""
    assert device_names(parse(file)) == []


@pytest.mark.parametrize("file", FILES)
def test_imports_point_downwards(file: str) -> None:
    if room_of(file).endswith(EMPTY):
        assert imports_of(file) == frozenset()
        return
    assert room_of(file) in FLOOR, f"{room_of(file)} has no floor: add it to FLOORS"
    assert upward_imports(file, imports_of(file)) == []


def test_no_file_imports_itself_through_others() -> None:
    assert circle({file: imports_of(file) for file in FILES}) == []


def test_every_room_on_a_floor_is_there() -> None:
    assert set(FLOOR) == {room_of(file) for file in FILES if not room_of(file).endswith(EMPTY)}
    assert max(map(len, FLOORS.values())) <= MOST_FLOORS


def test_scores_are_made_and_read_apart() -> None:
    """What is measured must not depend on what is made of it, nor the other way round."""
    for one, other in (("bench/scoring", "bench/analysis"), ("bench/analysis", "bench/scoring")):
        assert not [file for file in FILES if room_of(file) == one and other in map(room_of, imports_of(file))]


def test_checks_see_what_they_forbid() -> None:
    """A check that never fires looks like a clean library."""
    bad = ast.parse(
        "def f():\n from swq import reconstruct\n import swq.methods.rtn\n from bench.config import x\n"
        "if TYPE_CHECKING:\n from swq import losses\n"
        "x.cuda()\nx.to('cuda:1')\ny = 'cuda'\n'about cuda in words'\n"
    )
    assert {"swq.reconstruct", "swq.methods.rtn", "bench.config"} <= set(names(bad))
    assert "swq.losses" not in set(names(bad)), "it is for the type checker alone"
    imported = frozenset(
        {"swq/reconstruct/runner.py", "swq/methods/rtn/__init__.py", "swq/methods/awq/clip.py", "swq/errors.py"}
    )
    assert upward_imports("swq/quant/affine.py", imported) == ["swq/methods", "swq/reconstruct"]
    assert upward_imports("swq/methods/awq/search.py", imported) == ["swq/reconstruct"]
    assert upward_imports("swq/streaming.py", imported) == ["swq/methods", "swq/reconstruct"], "the same floor"
    assert len(device_names(bad)) == 3
    assert set(circle({"a": frozenset("b"), "b": frozenset("c"), "c": frozenset("a"), "d": frozenset("a")})) == {*"abc"}
