"""Mutations of a YAML file: of the values that it holds, and of its text."""

from __future__ import annotations

import copy
import datetime
from collections.abc import Callable
from typing import Any

import yaml
from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]
Place = tuple[Any, Any]  # a mapping or a list, and a key or an index of it

KEYS: list[Any] = [
    *("x", "", "a b", "a.b", "../x", "/etc/x", "$(x)", "${x}", "x\ny", "é\u2028", "n" * 5000, "name"),
    *(1, None, True, -0.5),
]
SCALARS: list[Any] = [
    *(None, True, False, 0, 1, -1, 3, 7, 2**31, -(2**63), 2**63 - 1, 2**64, 10**30, 10**400),
    *(0.0, -0.5, 0.1, 1e-320, 1e308, float("nan"), float("inf"), float("-inf")),
    *("", " ", "x", "x" * 5000, "9" * 5000, "1e-3", "nan", "-1", "true", "é😀", "\u2028\x85", "a\nb", "\0", "\x1b[2J"),
    *("../x", "/etc/passwd", "~", ".", "..", "-r", "a/../../b", "C:\\x", "$(touch x)", "x; touch x"),
    *("${x}", "${suite}", "${oc.env:HOME}", "${", "{x}", "{", "{model}", "{model.x}", "{0}", "%s"),
    *("w3a16g0", "w2a16g64", f"w{'3' * 5000}a16", "w3a16g٣", "fp", "rtn", "awq", "omniquant", "tesseraq"),
    *("sw", "mse", "hub", "folder", datetime.date(2024, 1, 1), datetime.datetime(2024, 1, 1, 12), b"\xff\0"),
]
CONTAINERS: list[Any] = [
    *([], {}, [[]], [{}], {"x": {}}, [None], [1, 2], ["x"], {"name": "rtn"}, {"name": ["rtn"]}, {"name": {}}),
    *({"source": "hub"}, {"source": []}, {"weights": {"mse": float("nan")}}, {1: 2}, {None: None}, {"a", "b"}),
]
ANYTHING = (
    st.sampled_from(SCALARS)
    | st.sampled_from(CONTAINERS).map(copy.deepcopy)
    | st.text(max_size=20)
    | st.integers()
    | st.floats()
)
SNIPPETS = [
    *("\t", "\n", "\n\t", " ", ": ", "- ", "? ", *"#'\"[]{},|>%@`!=~\0\ufeff\u2028\x85", "<<", "---\n", "...\n", "!x "),
    *("&a ", "*a", "*nobody", "<<: *a", "<<: {x: 1}", "<<: x", "<<: [1]", "&a [*a]", "&a {x: *a}", "&a [&b {x: *a}]"),
    *("&a [*a, *b]", "!!binary x", "!!binary '*'", "!!set {a}", "!!omap [a: 1]", "!!pairs [a: 1]", "!!timestamp x"),
    *("!!bool x", "!!int x", "!!float x", "!!python/object/apply:os.getcwd []", "%YAML 9.9\n---\n", "'${'", "'${x}'"),
    *("0x" + "f" * 9000, "1:2:3", "0o9", "0b", ".inf", ".nan", "2024-13-45", "2001-01-01T99:99:99Z", "? {a: 1}\n: 2"),
    *("[" * 500, "{a: " * 400, "? " * 400, "- " * 400, "[[1, 2]]: 3", "{[1]: 2}", "{{a: 1}: 2}"),
]


def mutated_values(draw: Draw, values: Any) -> Any:
    """Return a copy of what a file holds after one to three mutations; the last may be of the whole."""
    values = copy.deepcopy(values)
    for _ in range(draw(st.integers(1, 3))):
        places = _places(values)
        if not places:
            break
        draw(st.sampled_from([_replace, _replace, _replace, _rename, _delete, _insert, _swap]))(draw, places)
    return draw(ANYTHING) if draw(st.integers(0, 99)) == 99 else values


def dumped(values: Any) -> str:
    """Return values as YAML."""
    return yaml.dump(values, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True)


def mutated_text(draw: Draw, text: str) -> bytes:
    """Return a file's bytes after one mutation or two of its text."""
    content = text.encode()
    for _ in range(draw(st.integers(1, 2))):
        mutate = draw(st.sampled_from([_truncate, _flip, _put, _put, _put, _repeat_line, _drop_line, _tabs, _binary]))
        content = mutate(draw, content)
    return content


def _places(values: Any) -> list[Place]:
    """Return every place below a value."""
    keys: list[Any] = list(values) if isinstance(values, dict) else list(range(len(values)))
    found = [(values, key) for key in keys]
    for key in keys:
        if isinstance(values[key], dict | list):
            found += _places(values[key])
    return found


def _replace(draw: Draw, places: list[Place]) -> None:
    holder, key = draw(st.sampled_from(places))
    holder[key] = draw(ANYTHING)


def _delete(draw: Draw, places: list[Place]) -> None:
    holder, key = draw(st.sampled_from(places))
    del holder[key]


def _insert(draw: Draw, places: list[Place]) -> None:
    holder, _ = draw(st.sampled_from(places))
    if isinstance(holder, dict):
        holder[draw(st.sampled_from(KEYS))] = draw(ANYTHING)
    else:
        holder.append(draw(ANYTHING))


def _rename(draw: Draw, places: list[Place]) -> None:
    """Give a value another key, a strange one or one that stands elsewhere in the file."""
    holder, key = draw(st.sampled_from(places))
    if isinstance(holder, dict):
        known = [other for where, other in places if isinstance(where, dict)]
        holder[draw(st.sampled_from([*KEYS, *known]))] = holder.pop(key)


def _swap(draw: Draw, places: list[Place]) -> None:
    (one, first), (two, second) = (draw(st.sampled_from(places)) for _ in range(2))
    kept = copy.deepcopy(one[first])  # copies, or a value could end inside itself
    one[first], two[second] = copy.deepcopy(two[second]), kept


def _truncate(draw: Draw, content: bytes) -> bytes:
    return content[: draw(st.integers(0, len(content)))]


def _flip(draw: Draw, content: bytes) -> bytes:
    if not content:
        return content
    place = draw(st.integers(0, len(content) - 1))
    return content[:place] + bytes([content[place] ^ draw(st.integers(1, 255))]) + content[place + 1 :]


def _put(draw: Draw, content: bytes) -> bytes:
    """Put a piece of YAML anywhere, or in the place of a value."""
    lines = content.split(b"\n")
    number = draw(st.integers(0, len(lines) - 1))
    key, colon, _ = lines[number].partition(b":")
    snippet = draw(st.sampled_from(SNIPPETS)).encode()
    if colon and draw(st.booleans()):
        lines[number] = key + b": " + snippet
    else:
        place = draw(st.integers(0, len(lines[number])))
        lines[number] = lines[number][:place] + snippet + lines[number][place:]
    return b"\n".join(lines)


def _repeat_line(draw: Draw, content: bytes) -> bytes:
    lines = content.split(b"\n")
    number = draw(st.integers(0, len(lines) - 1))
    return b"\n".join([*lines[: number + 1], *lines[number:]])


def _drop_line(draw: Draw, content: bytes) -> bytes:
    lines = content.split(b"\n")
    del lines[draw(st.integers(0, len(lines) - 1))]
    return b"\n".join(lines)


def _tabs(draw: Draw, content: bytes) -> bytes:
    return content.replace(b"  ", b"\t", draw(st.integers(1, 3)))


def _binary(draw: Draw, content: bytes) -> bytes:
    return draw(st.binary(max_size=200) | st.just(b"") | st.just(content.decode("utf-8", "replace").encode("utf-16")))
