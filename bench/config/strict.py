"""Sections of a configuration that say plainly what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from reprlib import Repr
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from swq.errors import UserError, one_of

T = TypeVar("T")
MOST_VALUES = 100_000  # in a file; the largest in conf/ holds 5,000
_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 200


def mistake(message: str) -> PydanticCustomError:
    """Return the error to raise in a validator; it is shown after its place in the file."""
    return PydanticCustomError("mistake", "{message}", {"message": message})


def spelled(pattern: str, otherwise: str) -> AfterValidator:
    """Return a validator of text that must match `pattern` as a whole; `otherwise` is its error message."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise mistake(otherwise)
        return text

    return AfterValidator(check)


# A DVC stage suffix holds no '.', '/', '@' or blank, and a file's name at most 255 bytes.
Name = Annotated[str, spelled(r"[A-Za-z0-9_-]{1,128}", "may hold letters, digits, '_' and '-' only, at most 128")]


class Strict(BaseModel):
    """A section that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, given: Any) -> Any:
        if isinstance(given, dict):
            check_keys(given, cls.model_fields)
        return given

    def as_data(self) -> dict[str, Any]:
        """Return the section as JSON would hold it, fields at their default left out."""
        return self.model_dump(mode="json", exclude_defaults=True)


S = TypeVar("S", bound=Strict)


def read_section(kind: type[S], path: Path) -> S:
    """Read and validate a YAML file that holds one section.

    Raises:
        UserError: one line that names the key, the value and what is allowed.
    """
    if not path.is_file():
        raise UserError(f"there is no {path} here; run from the repository's top folder")
    return parse_section(kind, read_text(path), str(path))


def parse_section(kind: type[S], text: str, called: str) -> S:
    """Validate the text of a YAML file, which messages call `called`.

    Raises:
        UserError: as `read_section`.
    """
    given = parse_yaml(text, called)
    if not isinstance(given, dict):
        raise UserError(f"{called} must hold a mapping")
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise UserError(f"{called}: {one_line(error)}") from error


class _Plain(yaml.SafeLoader):
    """Refuses a key that a mapping holds twice, of which YAML's own loader silently keeps the last, and what no
    configuration needs but a reader can break on: tags, endless aliases, numbers of more than 64 bits."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._size = 0  # values so far, each as often as an alias repeats it
        self._sizes: dict[str | None, int] = {}  # of what an anchor names, once it is whole

    def compose_node(self, parent: Any, index: Any) -> Any:
        event, before = self.peek_event(), self._size
        line = f"line {event.start_mark.line + 1}"
        if getattr(event, "tag", None) is not None:
            raise yaml.YAMLError(f"{line}: the tag {event.tag!r} has no meaning here; write the value alone")
        node = super().compose_node(parent, index)
        if not isinstance(event, yaml.AliasEvent):
            self._size += 1
            self._sizes[event.anchor] = self._size - before
        elif event.anchor not in self._sizes:
            raise yaml.YAMLError(f"{line}: the alias {event.anchor!r} stands inside what it names")
        else:
            self._size += self._sizes[event.anchor]
        if self._size > MOST_VALUES:
            raise yaml.YAMLError(f"{line}: with all aliases, it holds more than {MOST_VALUES} values")
        return node

    def construct_yaml_int(self, node: Any) -> int:
        number = super().construct_yaml_int(node)
        if abs(number) >= 2**63:
            raise yaml.YAMLError(f"line {node.start_mark.line + 1}: the number has more than 64 bits")
        return number

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Here and not where the mapping is built: by then `<<` has added keys that may stand twice.
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.YAMLError(f"line {key.start_mark.line + 1}: the key {key.value!r} is there twice")
            seen.add(key.value)
        return node


_Plain.add_constructor("tag:yaml.org,2002:int", _Plain.construct_yaml_int)


def parse_yaml(text: str, called: str) -> Any:
    """Return what YAML text holds; messages call it `called`.

    Raises:
        UserError: it is not YAML, or a mapping holds a key twice.
    """
    try:
        return yaml.load(text, _Plain)
    except RecursionError as error:
        raise UserError(f"{called} is nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an impossible date
        what = " ".join(str(error).replace('in "<unicode string>", ', "").split())
        raise UserError(f"{called} is not valid YAML: {what}") from error


def read_text(path: Path) -> str:
    """Return a text file that a person wrote.

    Raises:
        UserError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8: byte {error.start} is {error.object[error.start]:#x}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def check_keys(given: dict[str, Any], allowed: Iterable[str]) -> None:
    names = list(allowed)
    for key in given:
        if key not in names:
            raise mistake(one_of("key", key, names))


def reporting(build: Callable[[Any], T]) -> Callable[[Any], T]:
    """Make a UserError that is raised while a value is built name the value's place in the file."""

    def wrapped(value: Any) -> T:
        try:
            return build(value)
        except UserError as error:
            raise mistake(str(error)) from error

    return wrapped


def shown(value: Any) -> str:
    """Return a value in a message: on one line, and shortened if it is long."""
    return _SHORT.repr(value)


def one_line(error: ValidationError) -> str:
    """Say the first thing that is wrong, and how many more there are."""
    first = error.errors()[0]
    # Discriminated unions put the chosen tag into the path; it is not a key of the file.
    parts = [str(part) for part in first["loc"] if part != "[key]"]
    if parts[0:1] in (["models"], ["corpora"]) and len(parts) > 2:
        del parts[2]
    place = ".".join(parts)
    message = _plain(first["type"], re.sub(r"^Value error, ", "", first["msg"]))
    value = first["input"]
    given = f" (given: {shown(value)})" if not isinstance(value, dict | list | BaseModel) and value is not None else ""
    more = f" [and {error.error_count() - 1} more]" if error.error_count() > 1 else ""
    return " ".join(f"{place + ': ' if place else ''}{message}{given}{more}".split())  # a key may hold a line break


PLAIN = {
    "missing": "is missing",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": "must be text",
}


def _plain(kind: str, message: str) -> str:
    """Say in plain words what pydantic says in its own."""
    if kind in PLAIN:
        return PLAIN[kind]
    if kind == "union_tag_not_found":
        return "key 'source' is missing (allowed: package, folder, hub)"
    return message
