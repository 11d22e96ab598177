"""Batches and directions that a thread prepares are those that the step would take itself: no bit depends on it."""

from __future__ import annotations

import threading

import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor

from swq.errors import UserError
from swq.losses import Loss
from swq.methods.base import Method
from swq.methods.omniquant import OmniQuant
from swq.methods.rtn import RTN
from swq.methods.tesseraq import TesseraQ
from swq.models.adapter import DecoderModel
from swq.reconstruct import ahead
from swq.reconstruct.recipe import Recipe
from swq.reconstruct.resume import BlockRecord
from swq.reconstruct.runner import reconstruct
from swq.seeding import keyed_normals
from tests.support.recipes import SCHEME, SpyNormals, assert_same_records
from tests.support.repository import REFERENCE

METHODS: dict[str, Method] = {
    "omniquant": OmniQuant(epochs=2, lwc_lr=0.05),
    "second target": OmniQuant(epochs=2, lwc_lr=0.05, aug_loss=True),
    "tesseraq": TesseraQ((0.5, 0.1), iterations=3, lr=0.01, start=RTN()),
    "after omniquant": TesseraQ((0.5,), iterations=3, lr=0.01, start=OmniQuant(epochs=1)),
}
LOSSES = {
    "mse": Loss({"mse": 1.0}),
    "hybrid": Loss({"mse": 0.9, "sw": 0.1}, 8),
    "both": Loss({"l2": 0.5, "sw": 0.3, "sw_mismatched": 0.2}, 8, sw_block_size=2, normalised=False),
    "normalised": Loss({"mse": 0.9, "sw": 0.1}, 8, normalised=True),
}


class Threads(SpyNormals):
    """Notes on which threads directions were drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.main: list[bool] = []

    def __call__(self, key: tuple[int | str, ...], shape: tuple[int, ...]) -> Tensor:
        self.main.append(threading.current_thread() is threading.main_thread())
        return super().__call__(key, shape)


def run(fabric: Fabric, method: Method, loss: Loss, ids: Tensor, normals: Threads) -> list[BlockRecord]:
    model = DecoderModel.load(REFERENCE / "models" / "tiny-llama")
    return list(reconstruct(fabric, model, Recipe(method, SCHEME, loss), ids, normals=normals))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("method", METHODS)
def test_records_are_the_same_with_a_thread(
    fabric: Fabric, calibration: Tensor, method: str, loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, threaded = Threads(), Threads()
    without = run(fabric, METHODS[method], LOSSES[loss], calibration, plain)
    monkeypatch.setattr(ahead, "host_computes", lambda _: False)
    assert_same_records(run(fabric, METHODS[method], LOSSES[loss], calibration, threaded), without)
    assert all(plain.main)
    trained = [main for key, main in zip(threaded.keys, threaded.main, strict=True) if "normalise" not in key]
    assert not any(trained) and bool(trained) == ("sw" in LOSSES[loss].active)
    if LOSSES[loss].active.count("sw_mismatched"):
        assert len(set(threaded.keys)) == len(threaded.keys), "both terms of a step share its directions"
    else:
        assert threaded.keys == plain.keys, "each is drawn once, in the order of steps"


def test_what_goes_wrong_on_the_thread_is_raised(
    fabric: Fabric, calibration: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def normals(key: tuple[int | str, ...], shape: tuple[int, ...]) -> Tensor:
        if key[1] == 3:
            raise UserError("no more numbers")
        return keyed_normals(0, key, shape)

    monkeypatch.setattr(ahead, "host_computes", lambda _: False)
    with pytest.raises(UserError, match="no more numbers"):
        run(fabric, METHODS["omniquant"], LOSSES["hybrid"], calibration, normals)  # type: ignore[arg-type]


def test_a_block_that_is_given_up_is_trained_again_with_fresh_directions(
    fabric: Fabric, calibration: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "host_computes", lambda _: False)
    spoiled = Threads()
    spoiled.spoil, spoiled.times = (0, 2, "target"), 1
    with pytest.warns(UserWarning, match="trained again"):
        records = run(fabric, METHODS["omniquant"], LOSSES["hybrid"], calibration, spoiled)
    assert records[0].retried and torch.isfinite(torch.tensor([step["loss"] for step in records[0].trace])).all()
