"""Every method on every family, as a plain and as a packed folder, opens in plain transformers without this project."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor

import swq
from swq.command.settings import QUANTIZING
from swq.errors import UserError
from swq.models.adapter import DecoderModel
from tests.support.elsewhere import logits_elsewhere
from tests.support.families import FAMILIES, tiny_lm

Settings = tuple[Any, dict[str, float] | None]
MIXED = {"mse": 0.9, "sw": 0.1}

# By method: settings that use scale pairs, where the family has any, and settings that do without.
METHODS: dict[str, tuple[Settings, ...]] = {
    "rtn": ((swq.RTN(), None),),
    "awq": ((swq.AWQ(), None), (swq.AWQ(scale=False), None)),
    "gptq": ((swq.GPTQ(), None),),
    "omniquant": ((swq.OmniQuant(1, let=True), MIXED), (swq.OmniQuant(1), MIXED)),
    "tesseraq": ((swq.TesseraQ((0.5,), iterations=2), {"l2": 0.9, "sw": 0.1}),),
    "apiq": ((swq.ApiQ(4, 1), MIXED),),
}


def tokens() -> Tensor:
    return torch.randint(0, 96, (2, 16), generator=torch.Generator().manual_seed(0))


def cases() -> Iterator[tuple[str, str, Any, dict[str, float] | None]]:
    """Yield a name, a family, a method and a loss."""
    for family in FAMILIES:
        has_pairs = bool(DecoderModel(tiny_lm(family)).scale_pairs(0))
        for method, all_settings in METHODS.items():
            for number, (settings, loss) in enumerate(all_settings):
                if has_pairs or not settings.needs_pairs:
                    yield f"{family}-{method}-{number}", family, settings, loss


def test_every_method_is_here() -> None:
    assert set(METHODS) == set(QUANTIZING)
    for family in FAMILIES:
        methods = {type(settings) for _, at, settings, _ in cases() if at == family}
        assert len(methods) == len(METHODS), f"{family} has every method, in one of its forms"


def test_a_method_that_a_model_cannot_have_says_in_one_line_what_it_can(fabric: Fabric) -> None:
    with pytest.raises(
        UserError, match=r"^AWQ moves scales .* These work without: RTN, gptq, awq with scale: false"
    ) as e:
        swq.quantize(tiny_lm("phi"), tokens(), "w3a16g32", swq.AWQ(), fabric=fabric)
    assert "\n" not in str(e.value)


@pytest.mark.slow
def test_logits_elsewhere_are_those_of_the_codes(fabric: Fabric, tmp_path: Path) -> None:
    """Scales are kept in float32, so nothing is rounded on the way."""
    wanted: dict[Path, Tensor] = {}
    for name, family, method, loss in cases():
        model = tiny_lm(family)
        found = swq.quantize(model, tokens(), "w3a16g32", method, loss, scale_dtype="float32", fabric=fabric)
        kinds = ("plain",) if found.artefact.has_adapters else ("plain", "packed")  # the packed format has no adapters
        places = [tmp_path / f"{name}-{kind}" for kind in kinds]
        for place in places:
            found.export(place, model, packed=place.name.endswith("packed"))
        with torch.no_grad():
            before = model(tokens()).logits
            found.apply(model)
            after = model(tokens()).logits
        assert (before - after).abs().max() > 1e-3, (
            f"{name}: export left the model as it was, and codes move its logits"
        )
        wanted |= dict.fromkeys(places, after)
    opened = logits_elsewhere(wanted, tokens(), tmp_path)
    assert opened.keys() == wanted.keys() and len(wanted) >= (2 * len(METHODS) - 1) * len(FAMILIES)
    for place, expected in wanted.items():
        torch.testing.assert_close(
            opened[place], expected, rtol=0, atol=1e-4, msg=lambda said, at=place: f"{at.name}: {said}"
        )
