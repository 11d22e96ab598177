"""Four recorded OmniQuant runs replayed with the recorded directions: losses, factors, codes and logits agree.

Codes alone prove little (training changes few of them), so every step's loss and every learned factor is compared too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor

from swq.checkpoint import Artefact, unpack_weight
from swq.losses import Loss
from swq.methods.omniquant import OmniQuant
from swq.models.adapter import DecoderModel
from swq.quant.affine import QuantizedWeight, quantize_weight, weight_range
from swq.quant.scheme import Scheme
from swq.reconstruct.data import ActivationPaths
from swq.reconstruct.module import BlockReconstruction
from swq.reconstruct.recipe import Recipe
from swq.reconstruct.resume import BlockRecord
from swq.reconstruct.runner import reconstruct
from tests.support.recipes import context
from tests.support.reference import Tensors, read_meta, read_reference
from tests.support.repository import REFERENCE

RUNS = ("omniq_mse", "omniq_sw", "omniq_mse_aug", "omniq_mse_sw_hilr")
SCHEME = Scheme(2, 32)
ENDS = {"low_factor": "buf_lowbound_factor", "up_factor": "buf_upbound_factor"}  # ours: theirs


@dataclass
class Replay:
    """A recorded run and ours beside it; `draws` are the keys and normals that ours asked for."""

    name: str
    model: DecoderModel
    records: list[BlockRecord]
    draws: list[tuple[tuple[int | str, ...], Tensor]] = field(default_factory=list)

    @property
    def reference(self) -> Tensors:
        return read_reference(self.name)

    @property
    def meta(self) -> dict[str, Any]:
        return read_meta()[self.name]

    def weights(self) -> dict[str, QuantizedWeight]:
        """Return the quantized weights by their path in the model."""
        return {
            path: unpack_weight(path, record.packed, shape, SCHEME)
            for record in self.records
            for path, shape in record.shapes.items()
        }

    def recorded(self, path: str, what: str) -> Tensor:
        """Return a final tensor of a linear by its path in the model."""
        return self.reference[f"final.{path.replace('model.layers.', 'block')}.{what}"]


def load_model() -> DecoderModel:
    return DecoderModel.load(REFERENCE / "models" / "tiny-llama")


def recipe_of(name: str) -> Recipe:
    special = read_meta()[name]["config"]["quant"]["special"]
    weights = {"mse": {"mse": 1.0}, "sliced_wasserstein": {"sw": 1.0}, "mse_sw": {"mse": 0.9, "sw": 0.1}}
    method = OmniQuant(special["epochs"], special["lwc_lr"], special["wd"], special["aug_loss"])
    loss = Loss(weights[special["loss_method"]], special["loss_kwargs"]["sw_num_projections"])
    return Recipe(method, SCHEME, loss, scale_dtype="float32")


@pytest.fixture(scope="module", params=RUNS)
def replay(request: pytest.FixtureRequest, fabric: Fabric, calibration: Tensor) -> Replay:
    run = Replay(request.param, load_model(), [])
    generator = torch.Generator().manual_seed(2)

    def normals(key: tuple[int | str, ...], shape: tuple[int, ...]) -> Tensor:
        run.draws.append((key, torch.randn(shape, generator=generator)))
        return run.draws[-1][1]

    run.records = list(reconstruct(fabric, run.model, recipe_of(run.name), calibration, normals=normals))
    return run


def test_every_step_has_the_recorded_loss(replay: Replay) -> None:
    ours = torch.tensor([step["loss"] for record in replay.records for step in record.trace], dtype=torch.float64)
    wanted = torch.tensor([loss for _, loss, _ in replay.meta["steps"]], dtype=torch.float64)
    torch.testing.assert_close(ours, wanted, rtol=1e-5, atol=0.0)


def test_every_learned_factor_is_the_recorded_one(replay: Replay) -> None:
    compared = 0
    for index, record in enumerate(replay.records):
        for name, factor in record.learned.items():
            linear, end = name.removeprefix(f"model.layers.{index}.").rsplit(".", 1)
            wanted = replay.reference[f"block{index}.final.{linear}.{ENDS[end]}"]
            torch.testing.assert_close(factor.reshape(-1, 1), wanted, rtol=0.0, atol=1e-4)
            compared += factor.numel()
    assert compared == 2 * 2 * 1280  # blocks, ends, groups of a block


def test_every_code_is_the_recorded_one(replay: Replay) -> None:
    weights = replay.weights()
    assert len(weights) == 14
    for path, weight in weights.items():
        assert torch.equal(weight.codes, replay.recorded(path, "codes").to(torch.uint8)), path
        assert torch.equal(weight.zero_point.reshape(-1, 1), replay.recorded(path, "zeros").to(torch.uint8)), path
        torch.testing.assert_close(weight.scale.reshape(-1, 1), replay.recorded(path, "scales"), rtol=1e-4, atol=0.0)


def test_untrained_clipping_gives_other_codes(replay: Replay) -> None:
    """Shows that the test above would notice a training that does nothing."""
    factor = torch.sigmoid(torch.tensor(4.0))
    changed = 0
    for path in replay.weights():
        weight = replay.model.model.get_parameter(f"{path}.weight")
        low, high = weight_range(SCHEME.group(weight))
        untrained = quantize_weight(weight, SCHEME, low * factor, high * factor, torch.float32)
        changed += int((untrained.codes != replay.recorded(path, "codes").to(torch.uint8)).sum())
    assert changed >= 20


def test_directions_are_the_recorded_ones_in_the_order_of_steps(replay: Replay) -> None:
    """A term without randomness draws nothing; SW draws once a step, and an interrupted stream would show here."""
    steps = [
        (index, step, "target") for index, record in enumerate(replay.records) for step in range(len(record.trace))
    ]
    n_draws = len(replay.meta["sw_randn_sha"])
    assert [key for key, _ in replay.draws] == (steps if n_draws else [])
    assert len(replay.draws) == n_draws
    for (_, ours), wanted in zip(replay.draws, replay.reference.get("sw_randn", torch.empty(0)), strict=False):
        torch.testing.assert_close(ours, wanted, rtol=0.0, atol=1e-6)


def test_dequantized_model_gives_the_recorded_logits(replay: Replay) -> None:
    """The way back from packed tensors to a model that is scored."""
    calib, model = read_reference("calib"), load_model().model
    tensors = {name: tensor for record in replay.records for name, tensor in record.packed.items()}
    shapes = {path: shape for record in replay.records for path, shape in record.shapes.items()}
    with torch.no_grad():
        full_precision = model(calib["eval_ids"]).logits
        Artefact("omniquant", SCHEME, "model", shapes, tensors).apply(model, "model")
        quantized = model(calib["eval_ids"]).logits
    torch.testing.assert_close(full_precision, calib["tiny-llama.fp_logits"], rtol=0.0, atol=1e-4)
    torch.testing.assert_close(quantized, replay.reference["final.eval_logits"], rtol=0.0, atol=1e-4)


@pytest.mark.parametrize("name", ["omniq_mse", "omniq_sw"])
def test_inputs_and_targets_of_each_block_are_the_recorded_ones(fabric: Fabric, calibration: Tensor, name: str) -> None:
    """Inputs come from the quantized path, targets from the full-precision one; here with the recorded weights."""
    model, reference = load_model(), read_reference(name)
    paths = ActivationPaths(fabric, model, calibration)
    for index in range(2):
        data = paths.block_data(index, with_aug=False)
        torch.testing.assert_close(data.hidden, reference[f"block{index}.input"], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(data.fp_output, reference[f"block{index}.ori_out"], rtol=1e-5, atol=1e-5)
        recorded = {
            f"{linear}.weight": reference[f"final.block{index}.{linear}.fq_weight"] for linear in model.linears(index)
        }
        paths.advance(index, data.fp_output, recorded)


@pytest.mark.parametrize("name", RUNS)
def test_first_gradients_of_each_factor_are_the_recorded_ones(fabric: Fabric, calibration: Tensor, name: str) -> None:
    """Adam forgives a gradient of the wrong length, so the factors after training do not show one."""
    model, reference, recipe = load_model(), read_reference(name), recipe_of(name)
    assert recipe.loss is not None
    paths = ActivationPaths(fabric, model, calibration)
    quantizer = recipe.method.quantizer(context(model, 0))
    data = paths.block_data(0, quantizer.aug_loss(0))
    directions = reference.get("sw_randn", torch.empty(1))[0]
    module = BlockReconstruction(0, model.blocks[0], paths.kwargs(0), quantizer, recipe.loss, lambda *_: directions)
    module.training_step(data.batch(fabric, [0]), 0)["loss"].backward()
    for linear, clipping in zip(quantizer.names, quantizer.clippings, strict=True):
        for ours, theirs in ENDS.items():
            wanted = reference[f"step0.block0.{linear}.{theirs}.grad"]
            grad = getattr(clipping, ours).grad.reshape(-1, 1)
            torch.testing.assert_close(grad, wanted, rtol=1e-5, atol=1e-5 * wanted.abs().max().item())
