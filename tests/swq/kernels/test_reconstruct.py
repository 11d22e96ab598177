"""A model reconstructed with compiled kernels has the bytes of one reconstructed with the plain formulas."""

from __future__ import annotations

import pytest
from lightning.fabric import Fabric
from torch import Tensor

from swq.kernels import native
from swq.losses import Loss
from swq.methods.omniquant import OmniQuant
from swq.methods.tesseraq import TesseraQ
from swq.quant.scheme import Scheme
from swq.reconstruct.recipe import Recipe
from swq.reconstruct.runner import reconstruct
from tests.support.families import tiny_model
from tests.support.recipes import SAMPLES, assert_same_records
from tests.swq.kernels.conftest import NO_COMPILER

METHODS = {
    "omniquant": OmniQuant(epochs=2, lwc_lr=0.05),
    "omniquant with let": OmniQuant(epochs=2, lwc_lr=0.05, let=True, let_shift=True),
    "tesseraq": TesseraQ(thresholds=(0.5, 0.1), iterations=4),
}


@pytest.mark.skipif(NO_COMPILER, reason="no gcc")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("group_size", [32, None])
@pytest.mark.parametrize("name", METHODS)
def test_kernels_change_no_bit(
    calibration: Tensor, name: str, group_size: int | None, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
    recipe = Recipe(METHODS[name], Scheme(2, group_size), Loss({"mse": 0.9, "sw": 0.1}, n_projections=8), 0)
    called: list[str] = []
    call = native.call
    monkeypatch.setattr(native, "call", lambda name, *arguments: (called.append(name), call(name, *arguments)))
    records = []
    for library in (None, native.build()):
        native.use(library)
        assert not called, "the plain formulas ran first"
        records.append(list(reconstruct(fabric, tiny_model("opt"), recipe, calibration[:SAMPLES] % 64)))
    native.use(None)
    assert len(called) > 10
    assert_same_records(*records)
