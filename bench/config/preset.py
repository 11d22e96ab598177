"""Cells filled up from a preset: a published recipe in conf/preset/."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.config.strict import parse_yaml, read_text
from swq.errors import UserError, one_of

PRESETS = Path("conf/preset")


def with_preset(key: str, cell: Any) -> Any:
    """Return a cell filled up with what its preset says; of `method` and `loss`, setting by setting.

    A cell that names another method than its preset takes nothing from the preset's. Inside them nothing is merged: a
    cell's `weights` or `start` stands alone.
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
