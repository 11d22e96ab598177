"""The walk over blocks: what it decides by itself, what it leaves alone, and where it stops."""

from __future__ import annotations

import gc
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor

from swq.checkpoint import Artefact, unpack_weight
from swq.errors import UserError
from swq.kernels.fake_quantize import fake_quantize
from swq.losses import Loss, mse
from swq.methods.base import Method
from swq.methods.fp import FullPrecision
from swq.methods.omniquant import OmniQuant
from swq.methods.rtn import RTN
from swq.methods.tesseraq import TesseraQ
from swq.models.adapter import DecoderModel
from swq.pieces import Pieces
from swq.quant.affine import quantize_weight, weight_range
from swq.quant.scheme import Scheme
from swq.reconstruct.module import BlockReconstruction
from swq.reconstruct.recipe import Recipe
from swq.reconstruct.resume import BlockRecord
from swq.reconstruct.runner import SLOWER, reconstruct
from swq.reconstruct.train import READ_EVERY, train_block
from tests.support.families import tiny_model
from tests.support.recipes import EPOCHS, SAMPLES, SCHEME, SpyNormals, assert_same_records, hybrid_recipe


def artefact_bytes(records: list[BlockRecord], path: Path) -> bytes:
    tensors = {name: tensor for record in records for name, tensor in record.packed.items()}
    shapes = {name: shape for record in records for name, shape in record.shapes.items()}
    Artefact("omniquant", SCHEME, "model", shapes, tensors).save(path)
    return path.read_bytes()


def test_same_seed_gives_the_same_bytes(
    fabric: Fabric, tiny_llama: DecoderModel, calibration: Tensor, tmp_path: Path
) -> None:
    """Whatever the global generator stands at: every draw has its own."""
    runs = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        runs.append(list(reconstruct(fabric, tiny_llama, hybrid_recipe(), calibration[:SAMPLES])))
    assert_same_records(*runs)
    assert artefact_bytes(runs[0], tmp_path / "a") == artefact_bytes(runs[1], tmp_path / "b")


def test_other_seed_gives_other_directions(fabric: Fabric, tiny_llama: DecoderModel, calibration: Tensor) -> None:
    """Also the very first loss differs, where nothing is learned yet; the term that draws nothing does not."""
    first, second = (
        next(reconstruct(fabric, tiny_llama, hybrid_recipe(seed), calibration[:SAMPLES])).trace[0] for seed in (0, 1)
    )
    assert first["sw"] != second["sw"]
    assert first["mse"] == second["mse"]


def test_directions_are_keyed_by_seed_block_step_and_target(
    fabric: Fabric, tiny_llama: DecoderModel, calibration: Tensor
) -> None:
    """The default source equals the documented key, and each target of each step has its own directions."""
    spy = SpyNormals(seed=5)
    injected = list(reconstruct(fabric, tiny_llama, hybrid_recipe(5), calibration[:SAMPLES], normals=spy))
    by_default = list(reconstruct(fabric, tiny_llama, hybrid_recipe(5), calibration[:SAMPLES]))
    assert_same_records(injected, by_default)
    assert spy.keys == [
        (block, step, target)
        for block in range(2)
        for step in range(EPOCHS * SAMPLES)
        for target in ("target", "aug_target")
    ]


def test_trace_has_every_step_and_terms_that_add_up(
    fabric: Fabric, tiny_llama: DecoderModel, calibration: Tensor
) -> None:
    for record in reconstruct(fabric, tiny_llama, hybrid_recipe(), calibration[:SAMPLES]):
        assert len(record.trace) == EPOCHS * SAMPLES
        for step in record.trace:
            assert step["loss"] == pytest.approx(step["mse"] + step["sw"], rel=1e-6)


def test_model_is_unchanged(fabric: Fabric, tiny_llama: DecoderModel, calibration: Tensor) -> None:
    """Later cells score and quantize the same object."""
    before = {name: tensor.clone() for name, tensor in tiny_llama.model.state_dict().items()}
    logits = tiny_llama.model(calibration[:2]).logits
    list(reconstruct(fabric, tiny_llama, hybrid_recipe(), calibration[:SAMPLES]))
    after = tiny_llama.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert torch.equal(tiny_llama.model(calibration[:2]).logits, logits)
    assert not tiny_llama.model.training
    assert not any(p.requires_grad or p.grad is not None for p in tiny_llama.model.parameters())


def test_next_block_is_trained_on_what_is_stored(fabric: Fabric, tiny_llama: DecoderModel, calibration: Tensor) -> None:
    """Its first loss, by hand: input through the first block with half-precision scales, target through neither."""
    recipe = Recipe(OmniQuant(epochs=1), SCHEME, Loss())
    first, second = reconstruct(fabric, tiny_llama, recipe, calibration[:1])
    outputs: list[Tensor] = []
    hook = tiny_llama.blocks[1].register_forward_hook(lambda _, __, output: outputs.append(output))
    start = torch.sigmoid(torch.tensor(4.0))
    with torch.no_grad():
        tiny_llama.model(calibration[:1])
        for path, shape in first.shapes.items():
            stored = unpack_weight(path, first.packed, shape, SCHEME)
            assert stored.scale.dtype == torch.float16
            tiny_llama.model.get_parameter(f"{path}.weight").copy_(stored.dequantize())
        for linear in tiny_llama.linears(1).values():
            grouped = SCHEME.group(linear.weight)
            low, high = weight_range(grouped)
            linear.weight.copy_(fake_quantize(grouped, low * start, high * start, 2).reshape(linear.weight.shape))
        tiny_llama.model(calibration[:1])
    hook.remove()
    assert second.trace[0]["loss"] == pytest.approx(mse(*outputs).item(), rel=1e-5)


@pytest.mark.parametrize(
    ("spoil", "name", "step", "first"),
    [((1, 3, "target"), "model.layers.1", 3, False), ((0, 0, "aug_target"), "model.layers.0", 0, True)],
)
def test_loss_that_is_not_finite_stops_with_block_step_and_last_value(
    fabric: Fabric,
    tiny_llama: DecoderModel,
    calibration: Tensor,
    tmp_path: Path,
    spoil: tuple[int | str, ...],
    name: str,
    step: int,
    first: bool,
) -> None:
    """Training on would store a block of NaN; blocks finished before it are kept, the broken one is not."""
    good = list(reconstruct(fabric, tiny_llama, hybrid_recipe(), calibration[:SAMPLES]))
    resume = Pieces(tmp_path / "run")
    with pytest.warns(UserWarning, match="trained again"), pytest.raises(UserError) as error:
        list(reconstruct(fabric, tiny_llama, hybrid_recipe(), calibration[:SAMPLES], resume, SpyNormals(0, spoil)))
    block = int(spoil[0])
    last = "it was the first step" if first else f"the last good value was {good[block].trace[step - 1]['loss']:.6g}"
    at_first = f"{name}: the loss became nan at step {step}; {last}"
    assert str(error.value).endswith(f"; that was at 0.1 times the learning rate, after {at_first}")
    assert str(error.value).startswith(f"{name}: the loss became nan at step {step}; ")
    assert resume.names() == ["block_000"][:block]


@pytest.mark.parametrize("step", [31, 32, 40, 63])
def test_first_bad_step_is_named_wherever_losses_are_read(
    fabric: Fabric, tiny_llama: DecoderModel, calibration: Tensor, step: int
) -> None:
    """Losses are read every 32 steps. Training goes on until then, and every later loss is NaN too."""
    recipe = Recipe(OmniQuant(epochs=16), SCHEME, Loss({"mse": 0.9, "sw": 0.1}, n_projections=4))
    good = next(reconstruct(fabric, tiny_llama, recipe, calibration[:SAMPLES])).trace
    spoilt = SpyNormals(0, spoil=(0, step, "target"), times=1)
    with pytest.warns(UserWarning, match=f"nan at step {step}; the last good value was {good[step - 1]['loss']:.6g};"):
        again = next(reconstruct(fabric, tiny_llama, recipe, calibration[:SAMPLES], normals=spoilt))
    assert len(good) == len(again.trace) == 16 * SAMPLES
    drawn = [key[1] for key in spoilt.keys]
    assert max(drawn[: drawn.index(0, 1)]) < step + READ_EVERY, "it stops soon"


def test_block_whose_loss_is_not_finite_is_trained_again_at_a_lower_rate(
    fabric: Fabric, tiny_llama: DecoderModel, calibration: Tensor, tmp_path: Path
) -> None:
    """From its start: it has the bits of a block that had the lower rate from the beginning. The record says why."""
    good, slow = Pieces(tmp_path / "good/run"), Pieces(tmp_path / "slow/run")
    list(reconstruct(fabric, tiny_llama, hybrid_recipe(), calibration[:SAMPLES], good))
    once = SpyNormals(0, spoil=(1, 3, "target"), times=1)
    with pytest.warns(UserWarning, match="trained again at 0.1 times the learning rate"):
        first, again = reconstruct(fabric, tiny_llama, hybrid_recipe(), calibration[:SAMPLES], normals=once)
    slow.folder.mkdir(parents=True)
    shutil.copy(good.folder / "block_000.safetensors", slow.folder)
    recipe = hybrid_recipe(lwc_lr=0.05 * SLOWER)
    assert_same_records([first, again], list(reconstruct(fabric, tiny_llama, recipe, calibration[:SAMPLES], slow)))
    assert first.retried is None
    assert again.retried and again.retried.startswith("model.layers.1: the loss became nan at step 3; ")


@pytest.mark.parametrize("method", [OmniQuant(epochs=1), TesseraQ((0.5,), iterations=2)])
def test_nothing_of_a_trained_block_outlives_it(
    fabric: Fabric, tiny_llama: DecoderModel, calibration: Tensor, monkeypatch: pytest.MonkeyPatch, method: Method
) -> None:
    """A block's training state is four times its weights; that of all blocks together would exceed the model."""
    alive: list[weakref.ref[BlockReconstruction]] = []

    def counting(fabric: Fabric, module: BlockReconstruction, *arguments: Any) -> list[dict[str, float]]:
        assert not any(other() for other in alive)
        alive.append(weakref.ref(module))
        return train_block(fabric, module, *arguments)

    monkeypatch.setattr("swq.reconstruct.runner.train_block", counting)
    gc.disable()  # it must not take a collection, which looks at counts of objects and not at their size
    try:
        list(reconstruct(fabric, tiny_llama, Recipe(method, SCHEME, Loss({"l2": 1.0})), calibration))
        assert len(alive) == 2 and not any(module() for module in alive)
    finally:
        gc.enable()


def test_method_that_trains_needs_calibration(fabric: Fabric, tiny_llama: DecoderModel) -> None:
    with pytest.raises(UserError, match="OmniQuant needs calibration tokens"):
        next(reconstruct(fabric, tiny_llama, hybrid_recipe()))


def test_round_to_nearest_needs_no_calibration(fabric: Fabric, tiny_llama: DecoderModel) -> None:
    records = list(reconstruct(fabric, tiny_llama, Recipe(RTN(), SCHEME, None)))
    assert [record.trace for record in records] == [[], []]
    for path, shape in (item for record in records for item in record.shapes.items()):
        stored = unpack_weight(path, records[int(path.split(".")[2])].packed, shape, SCHEME)
        wanted = quantize_weight(tiny_llama.model.get_parameter(f"{path}.weight"), SCHEME)
        assert torch.equal(stored.codes, wanted.codes) and torch.equal(stored.scale, wanted.scale)
        assert torch.equal(stored.zero_point, wanted.zero_point)
    assert sum(len(record.shapes) for record in records) == 14


def test_full_precision_stores_nothing(fabric: Fabric, tiny_llama: DecoderModel, calibration: Tensor) -> None:
    assert list(reconstruct(fabric, tiny_llama, Recipe(FullPrecision(), None, None), calibration)) == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Recipe(OmniQuant(), SCHEME, None), "OmniQuant trains: it needs a loss"),
        (lambda: Recipe(OmniQuant(), None, Loss()), "OmniQuant needs a scheme"),
        (lambda: Recipe(RTN(), SCHEME, Loss()), "RTN takes no loss"),
        (lambda: Recipe(FullPrecision(), SCHEME, None), "FullPrecision takes no scheme"),
        (lambda: OmniQuant(epochs=0), "omniquant: epochs is 0; it must be at least 1"),
        (lambda: OmniQuant(lwc_lr=float("nan")), "omniquant: lwc_lr must be above 0"),
    ],
)
def test_recipe_that_contradicts_its_method_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


@pytest.mark.parametrize("method", [RTN(), TesseraQ()], ids=["rtn", "tesseraq"])
def test_groups_that_do_not_fit_every_linear_are_refused_before_anything_is_computed(
    method: Method, fabric: Fabric, calibration: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The linear is the last one of a block. Nothing has read a weight or a token by then."""
    model = tiny_model("llama", intermediate_size=80)
    for name in ("first_inputs", "fill_block"):
        monkeypatch.setattr(model, name, lambda *_: pytest.fail("something is computed"))
    recipe = Recipe(method, Scheme(3, 64), Loss({"l2": 1.0}) if method.trains else None)
    said = (
        r"w3a16g64: groups of 64 do not divide the 80 .* of model.layers.0.mlp.down_proj \(these fit every linear: 16;"
    )
    with pytest.raises(UserError, match=said):
        next(reconstruct(fabric, model, recipe, calibration))
