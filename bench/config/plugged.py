"""Which packages' plug-ins a cell or a protocol uses, with the hash of their source, as params.yaml holds it.

DVC sees a plug-in's change there, because its code lies outside the repository.
"""

from __future__ import annotations

from typing import Any

from bench.config.strict import mistake
from swq.methods.plugin import NAME, plugin_methods
from swq.plugins import FAMILIES, LOSSES, METHODS, TASKS, plugins


def with_plugins(cell: Any) -> Any:
    """Return a cell as somebody wrote it, with its plug-in method spelt for DVC and what it uses of other packages."""
    if not isinstance(cell, dict):
        return cell
    method = cell.get("method")
    if isinstance(method, dict) and isinstance(name := method.get("name"), str) and name in plugin_methods():
        cell = cell | {"method": {"name": NAME, "plugin": name} | {k: v for k, v in method.items() if k != "name"}}
    used = used_by_cell(cell)
    return cell | {"plugins": used} if used else cell


def used_by_cell(cell: dict[str, Any]) -> dict[str, str]:
    """Return the packages that a cell uses, each with its hash. A family may be any model's, so those always count."""
    method, loss = cell.get("method"), cell.get("loss")
    start = method.get("start") if isinstance(method, dict) else None
    weights = loss.get("weights") if isinstance(loss, dict) else None
    names = {
        METHODS: [m.get("plugin") for m in (method, start) if isinstance(m, dict)],
        LOSSES: list(weights) if isinstance(weights, dict) else [],
        FAMILIES: list(plugins(FAMILIES)),
    }
    return _hashes(names)


def used_by_tasks(tasks: Any) -> dict[str, str]:
    """Return the packages that a protocol's tasks come from, each with its hash."""
    return _hashes({TASKS: list(tasks) if isinstance(tasks, list | tuple) else []})


def check_installed(written: dict[str, str], used: dict[str, str]) -> None:
    """Check that the plug-ins are those that params.yaml was composed with.

    Raises:
        PydanticCustomError: one is missing, or its source is another.
    """
    for package in sorted({*written, *used}):
        if package not in used:
            raise mistake(
                f"plugins: package {package}, with which params.yaml was composed, is not installed here, or adds no"
                " longer what is used; install it, or compose a suite that does without it"
            )
        if written.get(package) != used[package]:
            raise mistake(
                f"plugins: package {package} is not as it was when params.yaml was composed; compose it again with"
                " `python -m bench compose SUITE`"
            )


def _hashes(names: dict[str, list[Any]]) -> dict[str, str]:
    found = {}
    for group, of in names.items():
        for name, plugin in plugins(group).items():
            if name in of:
                found[plugin.package] = plugin.sha256
    return dict(sorted(found.items()))
