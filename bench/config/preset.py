"""Cells completed from a preset: a published recipe in conf/preset/."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.config.strict import parse_yaml, read_text
from swq.errors import UserError, one_of

PRESETS = Path("conf/preset")


def with_preset(key: str, cell: Any) -> Any:
    """Return a cell completed with its preset's values. `method` and `loss` are completed setting by setting.

    A cell that names a different method takes no settings from the preset's method. A setting is not merged any
    further: a cell's `weights` or `start` replaces the preset's.
    """
    if not isinstance(cell, dict) or cell.get("preset") is None:
        return cell
    presets = {path.stem: path for path in sorted(PRESETS.glob("*.yaml"))}
    if str(cell["preset"]) not in presets:
        raise UserError(f"cells.{key}: {one_of('preset', cell['preset'], presets)}")
    path = presets[str(cell["preset"])]
    preset = parse_yaml(read_text(path), str(path))
    method = preset.get("method") if isinstance(preset, dict) else None
    if not isinstance(method, dict) or "name" not in method:
        raise UserError(f"{path} needs a method, a mapping with a name")
    own = cell.get("method") or {}
    if isinstance(own, dict) and own.get("name", method["name"]) == method["name"]:
        own = method | own
    filled = {"method": own}
    if isinstance(cell.get("loss"), dict) and isinstance(preset.get("loss"), dict):
        filled["loss"] = preset["loss"] | cell["loss"]
    return cell | filled | {name: value for name, value in preset.items() if name not in cell}
