"""dvc.yaml lists for each stage the files that decide its result, and no others.

What is missing there would leave an old result in place; what is too much would re-run hours for an edited table. The
walk below starts at a stage's function and follows every import, also those inside functions. Three places are not
followed file by file:

- Configuration: every stage takes a `Params`, which imports all sections. A stage depends on the file of a section that
  its `params` name, if that holds defaults: what stands in params.yaml is tracked by DVC, what is left out is not.
- `swq.methods` is a registry: a cell depends on its own method's folder, and on what that imports.
- Files that decide nothing, listed with the reason.
"""

from __future__ import annotations

import ast
import dataclasses
import re
import typing
from collections.abc import Container, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pydantic
import pytest
import yaml

from bench.config.params import Params
from swq.methods import METHODS
from swq.methods.base import RangeMethod
from tests.support.imports import file_of, files_named, files_of, imports_of, names, parse, runs_code
from tests.support.repository import ROOT

DVC: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
GATE = "validate"  # makes no result: it lets the others begin, and its rules are the whole of bench/config
EVERY: dict[str, dict[str, Any]] = {name: stage.get("do", stage) for name, stage in DVC["stages"].items()}
STAGES = {name: stage for name, stage in EVERY.items() if name != GATE}
METHOD = "${item.method.name}"

REGISTRY = "swq/methods/__init__.py"
PARAMS = "bench/config/params.py"

# Files that a stage may reach without depending on them. What only they import decides nothing either.
DECIDES_NOTHING = {
    PARAMS: "checks that names fit together, and holds the sections as they are given",
    "bench/config/strict.py": "refuses values or passes them on as they are",
    "bench/config/sources.py": "says where things come from; its one default, a commit, is a check",
    "bench/config/plugged.py": "names what other packages decide, by hashes that DVC tracks",
    "swq/plugins.py": "finds what other packages add, whose hashes DVC tracks",
    "swq/methods/plugin/__init__.py": "names methods of other packages, whose hashes DVC tracks",
    "bench/imports.py": "how long importing takes",
    "bench/store/paths.py": "where files lie; dvc.yaml names the same places, so a change here alone fails",
    "bench/store/files.py": "writes and reads JSON as it is given",
    "bench/store/progress.py": "tells whoever waits how far a stage is",
    "bench/store/record.py": "provenance and cost, beside the result",
    "bench/store/checksums.py": "checksums of the result, and refuses damaged inputs",
    "bench/store/code.py": "names the code, for a state's fingerprint",
    "bench/store/resume.py": "finds a killed run's pieces by what decided them, and passes them on as they are",
    "bench/store/stage_output.py": "messages",
    "swq/__init__.py": "a version",
    "swq/errors.py": "messages",
    "swq/files.py": "writes whole files or none",
    "swq/identity.py": "names what decided a result, from values that DVC tracks",
}
# The same for single stages.
KERNELS = {"bench/config/sections.py": "of runtime, the one default: kernels of both kinds give the same bits"}
CACHED = {"bench/prepare/hub.py": "finds a model in the hub's cache, by the commit that its record names"}
DECIDES_NOTHING_THERE = {
    "fetch-model": {
        "bench/prepare/readers.py": "reads records of texts and tasks, which bench/prepare/hub.py fetches too",
        "swq/models/folder.py": "refuses a folder without a causal language model",
    },
    "train-model": CACHED | KERNELS,
    "fetch-corpus": {
        "swq/models/folder.py": "about models, which bench/prepare/hub.py fetches too",
    },
    "calibrate": CACHED
    | {
        "swq/perplexity.py": "cuts texts that are scored, which bench/inputs/texts.py reads too",
    },
    "reconstruct": CACHED | KERNELS,
    "score": CACHED | KERNELS,
    "compare": {
        "swq/models/biases.py": "about models, and this stage reads artefacts alone",
    },
    "report": {
        "bench/preflight/words.py": "messages",
    },
}
# A stage need not list what another one lists whose every run it sees: these two write down how long they took.
SEES_EVERY_RUN_OF = {"report": ("reconstruct", "score")}


@cache
def section_files() -> dict[str, set[str]]:
    """Return, for each section of params.yaml, the files of its classes that have defaults."""
    hints = typing.get_type_hints(Params)
    return {
        name: {file_of(kind.__module__) or "" for kind in _models(hints[name]) if _has_defaults(kind)}
        for name in Params.model_fields
    }


def _models(hint: Any) -> Iterator[type[pydantic.BaseModel]]:
    """Yield the sections in a type, and those in their fields."""
    if isinstance(hint, type) and issubclass(hint, pydantic.BaseModel):
        yield hint
        for field in hint.model_fields.values():
            yield from _models(field.annotation)
    for part in typing.get_args(hint):
        yield from _models(part)


def _has_defaults(kind: type[pydantic.BaseModel]) -> bool:
    return any(not field.is_required() for field in kind.model_fields.values())


CONFIGURATION = {
    file
    for hint in typing.get_type_hints(Params).values()
    for kind in _models(hint)
    if (file := file_of(kind.__module__))
}


def entry(stage: str) -> tuple[str, set[str]]:
    """Return the file of a stage's function, and the files that this function and those it uses there import.

    A file holds two stages where they share something, so what only the other one uses does not count.
    """
    name = stage.replace("-", "_")
    for file in files_of("bench"):
        functions = {node.name: node for node in parse(file).body if isinstance(node, ast.FunctionDef)}
        if file.startswith("bench/stages/") and name in functions:
            used = [functions[function] for function in _used_by(name, functions)]
            called = {node.id for function in used for node in ast.walk(function) if isinstance(node, ast.Name)}
            above = [node for node in parse(file).body if not isinstance(node, ast.FunctionDef)]
            parts = [*(_without_unused(node, called) for node in above), *used]
            return file, files_named(imported for part in parts for imported in names(part))
    raise AssertionError(f"dvc.yaml has a stage {stage}, but no file of bench/stages has a function {name}")


def _without_unused(node: ast.stmt, called: set[str]) -> ast.stmt:
    """Return a statement at a file's head; of an import, only the names that are used."""
    if isinstance(node, ast.ImportFrom):
        used = [alias for alias in node.names if (alias.asname or alias.name) in called]
        return ast.ImportFrom(node.module, used, node.level) if used else ast.Pass()
    return node


def _used_by(name: str, functions: dict[str, ast.FunctionDef]) -> set[str]:
    """Return a function of a file and the functions of that file that it uses, directly or through others."""
    used, waiting = set(), [name]
    while waiting:
        function = waiting.pop()
        used.add(function)
        named = {node.id for node in ast.walk(functions[function]) if isinstance(node, ast.Name)}
        waiting += sorted(named & functions.keys() - used)
    return used


def packages_above(file: str) -> set[str]:
    """Return the `__init__.py` files with code in them that run when a file is imported."""
    return {
        str(place)
        for folder in Path(file).parents
        if (ROOT / (place := folder / "__init__.py")).is_file() and runs_code(str(place))
    }


def walk(begin: Iterable[str], closed: Container[str]) -> set[str]:
    """Return the files that run when some are imported, themselves among them; `closed` ones are not followed."""
    found: set[str] = set()
    waiting = set(begin)
    while waiting:
        file = waiting.pop()
        found.add(file)
        if file not in closed:
            waiting |= ({*imports_of(file), *packages_above(file)} - CONFIGURATION) - found
    return {file for file in found if runs_code(file)}


def sections(stage: str) -> set[str]:
    """Return the files of the sections that a stage's `params` name."""
    given = [name.split(".")[0] for name in STAGES[stage].get("params", [])]
    return set().union(*(section_files()[name] for name in given))


def method_files(method: str) -> set[str]:
    """Return the files of a method, and of every one that it may start from."""
    kinds = [METHODS[method]]
    if any(field.name == "start" for field in dataclasses.fields(METHODS[method])):  # type: ignore[arg-type]
        kinds += [kind for kind in METHODS.values() if issubclass(kind, RangeMethod)]
    return {file_of(kind.__module__) or "" for kind in kinds}


def nothing(stage: str) -> set[str]:
    """Return the files that decide nothing in a stage that does not list them."""
    return {*DECIDES_NOTHING, *DECIDES_NOTHING_THERE.get(stage, {})} - set(STAGES[stage]["deps"])


def reached(stage: str, method: str | None = None) -> set[str]:
    """Return the files that a stage runs, of a cell with this method."""
    file, imported = entry(stage)
    begin = (imported - CONFIGURATION) | sections(stage) | (method_files(method) if method else set())
    return ({file} | walk(begin, {file, REGISTRY, *nothing(stage)})) - {REGISTRY}


def listed(stage: str, method: str | None = None) -> list[str]:
    """Return a stage's dependencies on files of this repository: code, and what it reads of conf/."""
    own = [dep for dep in STAGES[stage]["deps"] if dep.startswith(("bench/", "swq/", "conf/"))]
    return [dep.replace(METHOD, method) if method else dep for dep in own]


def covered(file: str, dependencies: Iterable[str]) -> bool:
    return any(file == dep or file.startswith(f"{dep}/") for dep in dependencies)


CASES: list[tuple[str, str | None]] = [(stage, None) for stage in STAGES if stage != "reconstruct"]
CASES += [("reconstruct", method) for method in METHODS]


@pytest.mark.parametrize(("stage", "method"), CASES)
def test_what_decides_a_stage_is_listed(stage: str, method: str | None) -> None:
    seen = [dep for other in SEES_EVERY_RUN_OF.get(stage, ()) for dep in listed(other)]
    wanted = reached(stage, method) - nothing(stage)
    assert sorted(file for file in wanted if not covered(file, [*listed(stage, method), *seen])) == []


def reached_by_any(stage: str) -> set[str]:
    """Return the files that decide a stage's result, whatever the method."""
    return set().union(*(reached(name, method) for name, method in CASES if name == stage))


def dependencies_of_any(stage: str) -> set[str]:
    return {dep for name, method in CASES if name == stage for dep in listed(name, method)}


@pytest.mark.parametrize("stage", STAGES)
def test_what_is_listed_decides(stage: str) -> None:
    """A file is reached by the stage; of a folder every file is; a file of conf/ is named in a file that is reached."""
    used, unused = reached_by_any(stage), []
    text = "\n".join((ROOT / file).read_text(encoding="utf-8") for file in sorted(used))
    for dep in sorted(dependencies_of_any(stage)):
        if dep.startswith("conf/"):
            unused += [] if f'"{dep}"' in text else [dep]
            continue
        inside = [file for file in (*files_of("bench"), *files_of("swq")) if covered(file, [dep]) and runs_code(file)]
        unused += sorted(set(inside) - used) if inside else [dep]
    assert unused == [], "the stage never imports these: register them (TABLES, PLOTS, ...), or drop them from dvc.yaml"


@pytest.mark.parametrize("stage", STAGES)
def test_what_is_listed_is_there(stage: str) -> None:
    """Code and configuration lie in the repository; everything else is what another stage makes."""
    assert [dep for dep in dependencies_of_any(stage) if not (ROOT / dep).exists()] == []
    made = [next(iter(out)) if isinstance(out, dict) else out for other in EVERY.values() for out in other["outs"]]
    made = [re.sub(r"\$\{[^}]*\}", "*", out) for out in made]
    others = [re.sub(r"\$\{[^}]*\}", "*", dep) for dep in STAGES[stage]["deps"] if dep not in listed(stage)]
    assert [dep for dep in others if not any(out == dep or out.startswith(f"{dep}/") for out in made)] == []


def test_every_stage_waits_for_the_names_to_be_validated() -> None:
    (gate,) = EVERY[GATE]["outs"]
    assert EVERY[GATE]["deps"] == ["params.yaml", "bench/config"]
    assert all(set(gate) <= set(stage["deps"]) for stage in STAGES.values())


def test_what_decides_nothing_is_reached() -> None:
    """An exception that nobody needs any more goes."""
    everywhere = {stage: reached_by_any(stage) for stage in STAGES}
    assert set(DECIDES_NOTHING) - {"bench/config/sources.py"} <= set().union(*everywhere.values())
    for stage, files in DECIDES_NOTHING_THERE.items():
        assert files.keys() <= everywhere[stage]


@pytest.mark.parametrize("method", METHODS)
def test_a_methods_folder_has_its_name(method: str) -> None:
    """dvc.yaml writes the folder's name from the configuration's."""
    assert file_of(METHODS[method].__module__) == f"swq/methods/{method}/__init__.py"


def test_walk_sees_what_a_stage_uses() -> None:
    """A walk that finds nothing would find nothing missing."""
    assert {"bench/scoring/harness.py", "swq/streaming.py", "swq/models/opt.py"} <= reached("score")
    assert {"swq/losses.py", "swq/reconstruct/train.py", "bench/config/cell.py"} <= reached("reconstruct", "rtn")
    assert "swq/methods/awq/search.py" in reached("reconstruct", "tesseraq")
    assert "bench/report/plots/bits.py" in reached("report") and "bench/config/sections.py" in reached("calibrate")
    assert not any(file.startswith(("bench/report/", "bench/analysis/", "conf/")) for file in reached("score"))
    assert "bench/prepare/gguf.py" not in reached("fetch-corpus"), "another function of the same file uses it"
