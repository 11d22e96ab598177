"""The precision of the Fabric holds in every forward through a block: on the two paths, and in training."""

from __future__ import annotations

import pytest
import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins import MixedPrecision
from torch import Tensor

from swq.losses import Loss
from swq.methods.awq import AWQ
from swq.methods.base import Method
from swq.methods.omniquant import OmniQuant
from swq.methods.tesseraq import TesseraQ
from swq.models.adapter import DecoderModel
from swq.quant.moments import Moments
from swq.quant.scheme import Scheme
from swq.reconstruct.recipe import Recipe
from swq.reconstruct.runner import reconstruct
from swq.reconstruct.train import _fresh_scaler
from tests.support.recipes import SAMPLES, hybrid_recipe


def test_every_block_begins_with_the_same_gradient_scale() -> None:
    """Else a block would depend on overflows in those before it, and a resumed run would differ."""
    precision = MixedPrecision("16-mixed", "cuda", torch.amp.GradScaler("cpu"))
    fabric = Fabric(accelerator="cpu", devices=1, plugins=[precision])
    assert precision.scaler is not None
    initial = precision.scaler.state_dict()
    precision.scaler.load_state_dict(initial | {"scale": 2.0, "_growth_tracker": 7})
    _fresh_scaler(fabric)
    assert precision.scaler.state_dict() == initial
    _fresh_scaler(Fabric(accelerator="cpu", devices=1))  # full precision has none


@pytest.mark.parametrize(
    ("precision", "autocast"),
    [
        ("32-true", False),
        ("bf16-mixed", True),
    ],
)
def test_training_and_both_paths_run_in_the_recipes_precision(
    tiny_llama: DecoderModel, calibration: Tensor, precision: str, autocast: bool
) -> None:
    """A target from autocast and an output without it would be compared as if quantization made the difference."""
    seen: dict[str, set[bool]] = {"training": set(), "paths": set()}

    def note(*_: object) -> None:
        seen["training" if torch.is_grad_enabled() else "paths"].add(torch.is_autocast_enabled("cpu"))

    # Not the first block, which first_inputs runs once for its own purpose, and not the block, which it calls empty.
    tiny_llama.blocks[1].get_submodule("mlp").register_forward_pre_hook(note)
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
    list(reconstruct(fabric, tiny_llama, hybrid_recipe(), calibration[:SAMPLES]))
    assert seen == {"training": {autocast}, "paths": {autocast}}


HALF = [torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", HALF)
def test_moments_are_those_of_full_precision_under_autocast(dtype: torch.dtype) -> None:
    """Squares of 300 are beyond float16's largest number."""
    inputs = 300 * torch.randn(64, 8, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", dtype):
        found = Moments.of(inputs, 4)
    assert found.second.dtype == torch.float32
    torch.testing.assert_close(found.second, Moments.of(inputs, 4).second, rtol=0, atol=0)


@pytest.mark.parametrize(
    "method",
    [
        AWQ(),
        TesseraQ(thresholds=(0.5, 0.1), iterations=2, lr=0.01),
        TesseraQ(thresholds=(0.5, 0.1), iterations=2, lr=0.01, start=OmniQuant(epochs=1)),
        OmniQuant(epochs=1, let=True),
    ],
    ids=["awq", "tesseraq", "tesseraq-from-omniquant", "omniquant-let"],
)
@pytest.mark.parametrize("dtype", HALF)
def test_every_method_runs_in_mixed_precision(
    tiny_llama: DecoderModel, calibration: Tensor, method: Method, dtype: torch.dtype
) -> None:
    """In float16 as a GPU runs it, scaled gradients included; it begins where full precision does."""
    scaler = torch.amp.GradScaler("cpu") if dtype == torch.float16 else None
    precision = MixedPrecision("16-mixed" if scaler else "bf16-mixed", "cpu", scaler)
    fabric = Fabric(accelerator="cpu", devices=1, plugins=[precision])
    loss = Loss({"l2": 0.9, "sw": 0.1}, 8) if method.trains else None
    recipe = Recipe(method, Scheme.parse("w3a16g32"), loss, seed=1)
    block = next(reconstruct(fabric, tiny_llama, recipe, calibration[:SAMPLES]))
    exact = next(reconstruct(Fabric(accelerator="cpu", devices=1), tiny_llama, recipe, calibration[:SAMPLES]))
    assert block.packed.keys() == exact.packed.keys() and len(block.trace) == len(exact.trace)
    for step, other in zip(block.trace[:1], exact.trace[:1], strict=True):  # float16 skips the next, which overflow
        assert step["loss"] == pytest.approx(other["loss"], rel=0.02)
