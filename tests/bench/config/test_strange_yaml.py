"""YAML that is legal and that no configuration needs: it is refused in one line, where a reader could break on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.config.cell import Cell
from bench.config.params import load_params
from bench.config.strict import MOST_VALUES, parse_section, parse_yaml, read_text
from swq.errors import UserError
from tests.support import tiny_suite

BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{below}'] * 8)}]\n" for below, name in zip("abcdef", "bcdefg", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &a [*a]", "line 1: the alias 'a' stands inside what it names"),
        ("a: 1\nb: &b { c: [*b] }", "line 2: the alias 'b' stands inside what it names"),
        (BOMB, f"line 6: with all aliases, it holds more than {MOST_VALUES} values"),
        ("[" * 500, "is nested too deeply"),
        ("a: !!timestamp x", r"line 1: the tag '.*timestamp' has no meaning here"),
        ("a: !!python/object/apply:os.getcwd []", r"the tag '.*' has no meaning here"),
        ("a: !mine { b: 1 }", "the tag '!mine' has no meaning here"),
        ("a: 0x" + "f" * 9000, "line 1: the number has more than 64 bits"),
        (f"a: {2**63}", "line 1: the number has more than 64 bits"),
        ("a: " + "9" * 5000, "is not valid YAML: Exceeds the limit"),
    ],
)
def test_what_a_reader_could_break_on_is_refused(text: str, said: str) -> None:
    with pytest.raises(UserError, match=f"^t .*{said}") as caught:
        parse_yaml(text, "t")
    assert "\n" not in str(caught.value)


def test_aliases_and_long_numbers_that_make_sense_are_read() -> None:
    assert parse_yaml(f"a: &a [1]\nb: [*a, *a]\nc: {2**63 - 1}\nd: '{2**64}'", "t") == {
        "a": [1],
        "b": [[1], [1]],
        "c": 2**63 - 1,
        "d": str(2**64),
    }


@pytest.mark.parametrize("name", [["rtn"], {"rtn": 1}, None, 3])
def test_name_of_a_method_that_is_no_text(tmp_path: Path, name: Any) -> None:
    values = tiny_suite.params()
    values["cells"]["tiny-tesseraq-sw"]["method"]["start"] = {"name": name}
    values["cells"]["tiny-rtn"]["method"]["name"] = name
    tiny_suite.write_params(tmp_path, values)
    with pytest.raises(UserError, match=r"cells.tiny-rtn.method: a method is a mapping such as .* \[and 1 more\]$"):
        load_params(tmp_path / "params.yaml")


def test_long_value_is_shortened_and_a_line_break_in_a_key_is_none_in_the_message() -> None:
    text = "{ model: m, calibration: c, method: { name: rtn }, scheme: w3a16, seed: " + "x" * 5000 + " }"
    with pytest.raises(UserError, match=r"seed: must be a whole number \(given: 'xx.*\.\.\..*xx'\)") as caught:
        parse_section(Cell, text, "t")
    assert len(str(caught.value)) < 300
    with pytest.raises(UserError, match="calibration") as caught:
        parse_section(Cell, '{ model: "a\\nb", calibration: 3, method: { name: rtn }, "x\\ny": 1 }', "t")
    assert len(str(caught.value).splitlines()) == 1


def test_key_that_is_too_long_for_a_files_name(tmp_path: Path) -> None:
    values = tiny_suite.params()
    values["cells"]["x" * 129] = values["cells"]["tiny-rtn"]
    tiny_suite.write_params(tmp_path, values)
    with pytest.raises(UserError, match=r"may hold letters, digits, '_' and '-' only, at most 128"):
        load_params(tmp_path / "params.yaml")


def test_folder_in_the_place_of_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_text(tmp_path)
