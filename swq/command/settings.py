"""What a command line says of a method and its loss, as the library takes it. No torch here: mistakes show at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from swq.errors import UserError, one_of
from swq.losses import Loss, terms
from swq.methods import METHODS
from swq.methods.base import Method, RangeMethod
from swq.methods.plugin import every_method

LOSS, START, NAME = "loss", "start", "name"
QUANTIZING = [name for name, kind in METHODS.items() if kind.needs_scheme]
WEIGHTS = {"omniquant": {"mse": 1.0}, "tesseraq": {"l2": 1.0}}  # of the methods' own authors
PLAIN = {"int": "must be a whole number", "float": "must be a number", "bool": "must be true or false"}


def parse_settings(given: Iterable[str]) -> dict[str, Any]:
    """Return settings NAME=VALUE as a mapping; `loss.NAME` and `start.NAME` are mappings in it.

    Values are read as YAML reads them, so that `[0.5, 0.1]` is a list.

    Raises:
        UserError: one is not of this form, or is given twice.
    """
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        part, dot, inner = name.partition(".")
        if not (equals and part and value and bool(dot) == bool(inner)):
            raise UserError(f"--set {text!r} is not of the form NAME=VALUE, e.g. epochs=3")
        if dot and part not in (LOSS, START):
            raise UserError(f"--set {name}: {one_of('part', part, (LOSS, START))}")
        if part == LOSS and not dot:
            raise UserError(
                "--set loss: weights are given by --loss, and other settings as, e.g., loss.n_projections=64"
            )
        inner = inner or (NAME if part == START else "")
        place = found.setdefault(part, {}) if inner else found
        if (inner or part) in place:
            raise UserError(f"--set {name} is given twice")
        place[inner or part] = _value(name, value)
    return found


def method_of(name: str, settings: Mapping[str, Any], kind: type[Any] = Method) -> Method:
    """Return a method of this name with these settings; a setting that is a method is a mapping with a `name`.

    Args:
        name: of a method of this project, or of a plug-in.
        settings: of it.
        kind: what it must be.

    Raises:
        UserError: a name or a value is wrong.
    """
    allowed = _allowed(kind)
    if name not in allowed:
        raise UserError(one_of("method", name, allowed))
    known = [field.name for field in fields(allowed[name])]  # type: ignore[arg-type]
    _check_names(f"setting of {name}", settings, known)
    values = dict(settings)
    if isinstance(start := values.get(START), Mapping):
        if NAME not in start:
            starts = ", ".join(_allowed(RangeMethod))
            raise UserError(f"--set start: name the method too, such as start=awq (allowed: {starts})")
        inner = {key: value for key, value in start.items() if key != NAME}
        values[START] = method_of(str(start[NAME]), inner, RangeMethod)
    made: Method = _built(allowed[name], values, name)
    return made


def _allowed(kind: type[Any]) -> dict[str, type[Method]]:
    return {name: made for name, made in every_method().items() if made.needs_scheme and issubclass(made, kind)}


def loss_of(text: str | None, settings: Mapping[str, Any], method: Method) -> Loss | None:
    """Return the loss: `text` holds weights, such as `mse=0.9,sw=0.1`; by default those of the method's own authors.

    Raises:
        UserError: a term, a setting or a value is wrong, or the method does not train.
    """
    if not method.trains:
        if text is None and not settings:
            return None
        raise UserError(f"--loss: {method.title} does not train, so it takes no loss")
    known = [field.name for field in fields(Loss) if field.name != "weights"]
    _check_names("setting of the loss", settings, known)
    default = WEIGHTS.get(type(method).__name__.lower(), {"mse": 1.0})
    values = {**settings, "weights": default if text is None else _weights(text)}
    made: Loss = _built(Loss, values, LOSS)
    return made


def _weights(text: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for part in text.split(","):
        term, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise UserError(f"--loss {text!r} is not of the form TERM=WEIGHT,..., e.g. mse=0.9,sw=0.1")
        if term not in terms():
            raise UserError(f"--loss: {one_of('loss term', term, terms())}")
        if term in weights:
            raise UserError(f"--loss: {term} is given twice")
        try:
            weights[term] = float(value)
        except ValueError as error:
            raise UserError(f"--loss {term}: the weight must be a number (given: {value!r})") from error
    return weights


def _check_names(kind: str, given: Iterable[str], known: list[str]) -> None:
    for name in given:
        if name not in known:
            raise UserError(one_of(kind, name, known) if known else f"unknown {kind} {name!r}: it has none")


def _built(kind: type, values: Mapping[str, Any], called: str) -> Any:
    try:
        return TypeAdapter(kind).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in (called, *first["loc"]))
        said = PLAIN.get(first["type"].partition("_")[0], first["msg"])
        raise UserError(f"--set {place}: {said} (given: {first['input']!r})") from error


def _value(name: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"--set {name}: the value {text!r} cannot be read") from error
