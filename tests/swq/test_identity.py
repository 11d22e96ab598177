"""Identity is data: what was made before a new field keeps its identity, and what differs gets another one."""

from __future__ import annotations

from dataclasses import dataclass, field, make_dataclass
from typing import Any

import pytest

from swq.identity import as_data, fingerprint
from swq.losses import Loss
from swq.methods import METHODS
from swq.methods.awq import AWQ
from swq.methods.omniquant import OmniQuant
from swq.methods.tesseraq import TesseraQ
from swq.quant.scheme import Scheme
from swq.reconstruct.recipe import Recipe


def grown(kind: type, **fields: Any) -> Any:
    """Return a method as a later version might define it: under its name, with more fields that have defaults."""
    return make_dataclass(
        kind.__name__, [(name, type(v), field(default=v)) for name, v in fields.items()], bases=(kind,), frozen=True
    )


def identity(value: Any) -> str:
    return fingerprint(as_data(value))


@pytest.mark.parametrize("method", [OmniQuant(), OmniQuant(epochs=3, let=True), TesseraQ(start=AWQ(clip=False))])
def test_new_field_at_its_default_changes_no_identity(method: Any) -> None:
    given = {name: value for name, value in vars(method).items() if not name.startswith("_")}
    later = grown(type(method), momentum=0.5)
    assert identity(later(**given)) == identity(method)
    assert identity(later(**given, momentum=0.25)) != identity(method)


def test_new_field_of_a_start_is_no_other_start() -> None:
    """What a method starts from lies inside it."""
    later = grown(AWQ, ratios=20)
    assert identity(TesseraQ(start=later())) == identity(TesseraQ(start=AWQ()))
    assert identity(TesseraQ(start=later(ratios=30))) != identity(TesseraQ(start=AWQ()))


def test_methods_without_settings_differ_by_their_names() -> None:
    assert len({identity(kind()) for kind in METHODS.values()}) == len(METHODS)


def test_every_part_of_a_recipe_matters() -> None:
    recipe = Recipe(OmniQuant(), Scheme(2, 64), Loss({"mse": 0.9, "sw": 0.1}), 3, "float16")
    others = [
        Recipe(OmniQuant(epochs=7), Scheme(2, 64), Loss({"mse": 0.9, "sw": 0.1}), 3, "float16"),
        Recipe(OmniQuant(), Scheme(2, 32), Loss({"mse": 0.9, "sw": 0.1}), 3, "float16"),
        Recipe(OmniQuant(), Scheme(2, 64), Loss({"mse": 0.8, "sw": 0.2}), 3, "float16"),
        Recipe(OmniQuant(), Scheme(2, 64), Loss({"mse": 0.9, "sw": 0.1}), 4, "float16"),
        Recipe(OmniQuant(), Scheme(2, 64), Loss({"mse": 0.9, "sw": 0.1}), 3, "float32"),
    ]
    assert len({identity(one) for one in [recipe, *others]}) == 1 + len(others)


def test_order_of_keys_does_not_matter() -> None:
    assert identity(Loss({"sw": 0.1, "mse": 0.9})) == identity(Loss({"mse": 0.9, "sw": 0.1}))
    assert fingerprint({"b": [1, {"d": 2, "c": 3}], "a": None}) == fingerprint({"a": None, "b": [1, {"c": 3, "d": 2}]})
    assert fingerprint([1, 2]) != fingerprint([2, 1]), "the order of a list says something"


def test_fingerprint_is_the_same_in_every_process_and_version() -> None:
    """Another derivation would turn every committed result into one that was not run."""
    assert fingerprint({"a": [1, 2.5, None, True], "b": "ä"}) == (
        "a00bf7dacd7e6ddad2bf34ba151dab75277d2ad05d43330fb2a61b146c7bd10f"
    )


def test_what_is_no_data_is_refused() -> None:
    """An object's address in an identity would make it another one in every process."""

    @dataclass(frozen=True)
    class Odd:
        part: object

    with pytest.raises(TypeError, match="is not data"):
        as_data(Odd(object()))
