"""16-mixed on the processor: autocast to float16 and a gradient scaler, as on a GPU, over every method and loss.

Fabric turns 16-mixed into bfloat16 on a CPU, so it is given its own plugin for float16. What this cannot show is speed
and a GPU's kernels.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins import MixedPrecision
from torch import Tensor

from swq.losses import Loss
from swq.methods import METHODS
from swq.methods.apiq import ApiQ
from swq.methods.awq import AWQ
from swq.methods.base import Method
from swq.methods.gptq import GPTQ
from swq.methods.omniquant import OmniQuant
from swq.methods.rtn import RTN
from swq.methods.tesseraq import TesseraQ
from swq.models.adapter import DecoderModel
from swq.reconstruct.recipe import Recipe
from swq.reconstruct.resume import BlockRecord
from swq.reconstruct.runner import reconstruct
from tests.support.families import tiny_model
from tests.support.recipes import SCHEME

INITIAL_SCALE = 65536.0  # of torch's GradScaler
TRAINED: dict[str, Method] = {
    "OmniQuant": OmniQuant(epochs=2),
    "OmniQuant with a second target": OmniQuant(epochs=2, aug_loss=True),
    "OmniQuant with LET": OmniQuant(epochs=2, let=True),
    "TesseraQ from RTN": TesseraQ((0.5, 0.1), iterations=8, lr=0.01, start=RTN()),
    "TesseraQ from AWQ": TesseraQ((0.5, 0.1), iterations=8, lr=0.01, start=AWQ()),
    "TesseraQ from OmniQuant": TesseraQ((0.5,), iterations=8, lr=0.01, start=OmniQuant(epochs=1)),
    "ApiQ": ApiQ(rank=8, epochs=2),
    "ApiQ + saliency": ApiQ(rank=8, epochs=2, saliency_weight=0.1, saliency_samples=2),
}
LOSSES = {
    "mse": Loss({"mse": 1.0}),
    "l2": Loss({"l2": 1.0}),
    "sw": Loss({"sw": 1.0}, 16),
    "mse + sw": Loss({"mse": 0.9, "sw": 0.1}, 16),
    "normalised": Loss({"mse": 0.9, "sw": 0.1}, 16, normalised=True),
    "mismatched": Loss({"l2": 0.9, "sw_mismatched": 0.1}, 16),
}


@pytest.fixture(scope="module")
def half() -> Fabric:
    return Fabric(accelerator="cpu", devices=1, plugins=MixedPrecision("16-mixed", device="cpu"))


def scale(fabric: Fabric) -> float:
    scaler = fabric.strategy.precision.scaler  # type: ignore[attr-defined]
    return float(scaler.get_scale())


def run(fabric: Fabric, model: DecoderModel, method: Method, loss: Loss | None, ids: Tensor) -> list[BlockRecord]:
    return list(reconstruct(fabric, model, Recipe(method, SCHEME, loss), ids))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("method", TRAINED)
def test_every_method_trains_in_float16_under_every_loss(
    half: Fabric, fabric: Fabric, calibration: Tensor, tiny_llama: DecoderModel, method: str, loss: str
) -> None:
    """The block computes in float16, the loss and what is learned stay in float32, and the first loss is float32's."""
    dtypes = set()

    def note(*_: Any) -> None:
        if torch.is_grad_enabled():
            dtypes.add(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32)

    handle = tiny_llama.blocks[0].register_forward_hook(note)
    records = run(half, tiny_llama, TRAINED[method], LOSSES[loss], calibration)
    handle.remove()
    salient = {torch.float32} if TRAINED[method].gradient_samples else set()
    assert dtypes == {torch.float16} | salient
    assert all(math.isfinite(step["loss"]) for record in records for step in record.trace)
    assert all(value.dtype == torch.float32 for record in records for value in record.learned.values())
    assert all(tensor.isfinite().all() for record in records for tensor in record.packed.values())
    full = run(fabric, tiny_llama, TRAINED[method], LOSSES[loss], calibration)
    assert records[0].trace[0]["loss"] == pytest.approx(full[0].trace[0]["loss"], rel=0.01)
    measured = [{name: v for name, v in step.items() if "share" in name} for step in records[0].trace]
    terms = [*LOSSES[loss].active, *(["saliency"] if TRAINED[method].gradient_samples else [])]
    wanted = {f"{term}_grad_share" for term in terms} if len(terms) > 1 else set()
    (shares,) = [of for of in measured if of] or [{}]
    assert set(shares) == wanted and all(0 <= share <= 1 for share in shares.values())


@pytest.mark.parametrize("method", [RTN(), AWQ(), GPTQ()])
def test_methods_that_only_search_run_in_float16(
    half: Fabric, calibration: Tensor, tiny_llama: DecoderModel, method: Method
) -> None:
    records = run(half, tiny_llama, method, None, calibration)
    assert all(tensor.isfinite().all() for record in records for tensor in record.packed.values())


def test_every_method_is_here() -> None:
    assert {type(method) for method in (*TRAINED.values(), RTN(), AWQ(), GPTQ())} == {
        of for name, of in METHODS.items() if name != "fp"
    }


def test_a_step_that_overflows_is_skipped_and_its_loss_recorded(
    half: Fabric, calibration: Tensor, tiny_llama: DecoderModel
) -> None:
    """The scaler halves its scale until gradients fit. Until then nothing may be learned, and nothing is lost."""
    method = TesseraQ((0.5,), iterations=1, lr=0.1, start=RTN())
    loss = Loss({"l2": 100.0})  # times the scale it is beyond float16's 65,504
    (before, _), (after, _) = (
        run(half, tiny_llama, m, loss, calibration)
        for m in (method, TesseraQ((0.5,), iterations=1, lr=1e-12, start=RTN()))
    )
    assert scale(half) < INITIAL_SCALE, "the step has overflowed"
    assert math.isfinite(before.trace[0]["loss"]) and len(before.trace) == 1
    for name, value in before.learned.items():
        assert torch.equal(value, after.learned[name]), "a rate of 0.1 would have moved it"


def test_every_block_begins_with_the_same_scale(half: Fabric, calibration: Tensor, tiny_llama: DecoderModel) -> None:
    """So a block does not depend on how often earlier ones overflowed, nor on a resume."""
    method, loss = TesseraQ((0.5, 0.1), iterations=4, start=RTN()), Loss({"l2": 1.0})
    whole = run(half, tiny_llama, method, loss, calibration)
    half.strategy.precision.scaler.update(1.0)  # type: ignore[attr-defined]
    again = run(half, tiny_llama, method, loss, calibration)
    assert [record.trace for record in whole] == [record.trace for record in again]


@pytest.mark.parametrize("family", ["opt", "qwen3"])
def test_other_families_train_in_float16(half: Fabric, family: str) -> None:
    ids = torch.randint(0, 32, (2, 16), generator=torch.Generator().manual_seed(0))
    records = run(half, tiny_model(family), OmniQuant(epochs=1), LOSSES["mse + sw"], ids)
    assert all(math.isfinite(step["loss"]) for record in records for step in record.trace)
