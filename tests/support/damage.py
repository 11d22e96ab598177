"""Damage to files: what a kill, a bad disk, a careless copy or an editor leaves in a file's place."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]

OTHER_VALUES: list[Any] = [None, [], {}, 0, -1.5, True, "", "x", "../..", [[1], {}], {"a": {"b": [None]}}, ["a", "b"]]
OTHER_JSON = [*map(json.dumps, OTHER_VALUES), "NaN", "1" * 5000, "[" * 100_000, '{"a":' * 100_000]


def damage(draw: Draw, path: Path, alike: Sequence[Path]) -> str:
    """Damage a file and return what was done.

    Args:
        draw: of the test.
        path: the file.
        alike: valid files of the same kind, of which one may take its place.
    """
    kinds: list[Callable[[Draw, Path], str]] = [_cut, _flip, _flip, _empty, _noise, _zeros, _folder, _json, _append]
    kinds += [_missing] + [_field] * 2 * _holds_fields(path)
    if alike:
        kinds += [lambda draw, path: _swap(draw, path, alike)] * 2
    return draw(st.sampled_from(kinds))(draw, path)


def _cut(draw: Draw, path: Path) -> str:
    content = path.read_bytes()
    kept = draw(st.integers(0, max(len(content) - 1, 0)))
    path.write_bytes(content[:kept])
    return f"cut off after {kept} bytes"


def _flip(draw: Draw, path: Path) -> str:
    content = bytearray(path.read_bytes() or b"\0")
    place, bit = draw(st.integers(0, len(content) - 1)), draw(st.integers(0, 7))
    content[place] ^= 1 << bit
    path.write_bytes(content)
    return f"bit {bit} of byte {place} flipped"


def _empty(draw: Draw, path: Path) -> str:
    path.write_bytes(b"")
    return "emptied"


def _noise(draw: Draw, path: Path) -> str:
    path.write_bytes(draw(st.binary(min_size=1, max_size=300)))
    return "replaced by noise"


def _zeros(draw: Draw, path: Path) -> str:
    """What a file system without its journal leaves of a file whose length was already known."""
    content = path.read_bytes()
    kept = draw(st.integers(0, len(content)))
    path.write_bytes(content[:kept] + bytes(max(len(content) - kept, 1)))
    return f"zeros behind {kept} bytes"


def _folder(draw: Draw, path: Path) -> str:
    path.unlink()
    path.mkdir()
    if draw(st.booleans()):
        (path / "x").write_text("x")
    return "replaced by a folder"


def _json(draw: Draw, path: Path) -> str:
    text = draw(st.sampled_from(OTHER_JSON))
    path.write_text(text)
    return f"replaced by JSON: {text[:30]}"


def _append(draw: Draw, path: Path) -> str:
    more = draw(st.sampled_from([b"\n", b"\0", b"x", b"{}", b"x\n" * 40]) | st.binary(min_size=1, max_size=50))
    path.write_bytes(path.read_bytes() + more)
    return f"followed by {more!r}"


def _missing(draw: Draw, path: Path) -> str:
    path.unlink()
    return "removed"


def _swap(draw: Draw, path: Path, alike: Sequence[Path]) -> str:
    other = draw(st.sampled_from(alike))
    shutil.copyfile(other, path)
    return f"replaced by {other}"


def _holds_fields(path: Path) -> bool:
    return path.suffix == ".json" and bool(_places(json.loads(path.read_bytes())))


def _field(draw: Draw, path: Path) -> str:
    """Give one field of a JSON file a value that it should not have; the file stays valid JSON."""
    data = json.loads(path.read_bytes())
    holder, key = draw(st.sampled_from(_places(data)))
    value = draw(st.sampled_from(OTHER_VALUES))
    holder[key] = value
    path.write_text(json.dumps(data, indent=2))
    return f"field {key} became {value!r}"


def _places(data: Any) -> list[tuple[Any, Any]]:
    """Return every place in JSON below its root: what holds it, and the key or index there."""
    if not isinstance(data, dict | list):
        return []
    keys = list(data) if isinstance(data, dict) else list(range(len(data)))
    return [(data, key) for key in keys] + [place for key in keys for place in _places(data[key])]
