"""What files of this repository import from it, read from their text: nothing is run.

Imports under `if TYPE_CHECKING:` are left out, because they are never executed. Those inside functions count.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache

from tests.support.repository import ROOT

PACKAGES = ("bench", "swq")


@cache
def files_of(package: str) -> tuple[str, ...]:
    """Return a package's files, as paths in the repository."""
    return tuple(str(path.relative_to(ROOT)) for path in sorted((ROOT / package).rglob("*.py")))


def module_of(file: str) -> str:
    """Return the dotted name of a file; a package's is that of its `__init__.py`."""
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@cache
def file_of(module: str) -> str | None:
    """Return the file of a dotted name, or None if it is not a module of this repository."""
    place = module.replace(".", "/")
    return next((file for file in (f"{place}.py", f"{place}/__init__.py") if (ROOT / file).is_file()), None)


@cache
def parse(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text(encoding="utf-8"), file)


def names(tree: ast.AST) -> Iterator[str]:
    """Yield the dotted names that code imports when it runs; relative ones keep their dots."""
    if isinstance(tree, ast.If) and ast.unparse(tree.test).endswith("TYPE_CHECKING"):
        for otherwise in tree.orelse:
            yield from names(otherwise)
        return
    if isinstance(tree, ast.Import):
        yield from (alias.name for alias in tree.names)
    elif isinstance(tree, ast.ImportFrom):
        base = "." * tree.level + (tree.module or "")
        yield base
        yield from (f"{base}.{alias.name}" for alias in tree.names)
    for node in ast.iter_child_nodes(tree):
        yield from names(node)


def files_named(imported: Iterable[str]) -> set[str]:
    """Return the files that imported names stand for: of `from bench.config import seeds`, the module alone.

    A package counts only where something is taken from its `__init__.py` itself.
    """
    given = list(imported)
    found = {name: file for name in given if (file := file_of(name)) is not None}

    def only_leads_to_modules(package: str) -> bool:
        inside = [name for name in given if name.rpartition(".")[0] == package]
        return bool(inside) and all(name in found for name in inside)

    return {file for name, file in found.items() if not (file.endswith("/__init__.py") and only_leads_to_modules(name))}


@cache
def imports_of(file: str) -> frozenset[str]:
    """Return the files of this repository that a file imports, also inside its functions."""
    return frozenset(files_named(names(parse(file)))) - {file}


def runs_code(file: str) -> bool:
    """Say whether a file holds more than a docstring and comments."""
    body = parse(file).body
    return any(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in body)
