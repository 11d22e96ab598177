"""Two recorded TesseraQ runs replayed with the recorded directions and batches, and its pieces one by one.

At its learning rate TesseraQ changes 0.2 % of the rounding decisions here, so losses, scale factors and the variables
hardened after every threshold are compared too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor

from swq.checkpoint import Artefact, unpack_weight
from swq.losses import Loss
from swq.methods.awq.clip import search_clip
from swq.methods.quantizer import BlockContext, BlockQuantizer, RangeQuantizer
from swq.methods.rtn import RTN
from swq.methods.tesseraq import TesseraQ
from swq.methods.tesseraq.block import TesseraQBlock
from swq.methods.tesseraq.rounding import AdaptiveRounding, quantile, rectified_sigmoid
from swq.models.adapter import DecoderModel
from swq.quant.affine import weight_range
from swq.quant.moments import Moments
from swq.quant.scheme import Scheme
from swq.reconstruct.recipe import Recipe
from swq.reconstruct.resume import BlockRecord
from swq.reconstruct.runner import reconstruct
from tests.support.reference import Tensors, read_meta, read_reference
from tests.support.repository import REFERENCE

RUNS = ("tesseraq_l2", "tesseraq_l2_sw")
SCHEME = Scheme(2, 32)
STEPS = 50  # per block: 5 thresholds of 10


@dataclass(frozen=True)
class Replayed(TesseraQ):
    """TesseraQ with recorded batches, keeping the blocks it made and their variables after each hardening."""

    indices: Any = None
    blocks: Any = None

    def quantizer(self, block: BlockContext) -> BlockQuantizer:
        made = ReplayedBlock(self, self.start.quantizer(block))
        made.indices = self.indices[STEPS * len(self.blocks) :]
        self.blocks.append(made)
        return made


class ReplayedBlock(TesseraQBlock):
    indices: Tensor

    def __init__(self, settings: TesseraQ, start: RangeQuantizer) -> None:
        super().__init__(settings, start)
        self.hardened: list[dict[str, Tensor]] = []

    def start_round(self, round_index: int) -> torch.optim.Optimizer:
        optimizer = super().start_round(round_index)
        variables = {name: linear.rounding.detach() for name, linear in self.each()}
        self.hardened.append(
            {name: torch.where(v.isinf(), v.sign(), 0.0).reshape(-1, 32) for name, v in variables.items()}
        )
        return optimizer

    def batches(self, round_index: int, n_samples: int, generator: torch.Generator) -> Iterator[list[int]]:
        start = round_index * self.settings.iterations
        yield from self.indices[start : start + self.settings.iterations].tolist()


@dataclass
class Replay:
    """A recorded run and ours beside it."""

    name: str
    records: list[BlockRecord]
    blocks: list[ReplayedBlock]

    @property
    def reference(self) -> Tensors:
        return read_reference(self.name)

    def linears(self) -> Iterator[tuple[str, AdaptiveRounding]]:
        """Yield every linear with its name in the recording."""
        for index, block in enumerate(self.blocks):
            for name, linear in block.each():
                yield f"block{index}.{name}", linear


def adaptive(weight: Tensor) -> AdaptiveRounding:
    """Rounding variables laid over the weight's own range."""
    return AdaptiveRounding(weight, *weight_range(SCHEME.group(weight)), SCHEME)


def recorded_normals(reference: Tensors) -> Callable[[tuple[int | str, ...], tuple[int, ...]], Tensor]:
    """Serve the recorded draws. Each block's first and last were spent on an evaluation before and after training."""

    def normals(key: tuple[int | str, ...], shape: tuple[int, ...]) -> Tensor:
        block, step, target = key
        assert target == "target" and isinstance(block, int) and isinstance(step, int)
        return reference["sw_randn"][block * (STEPS + 2) + 1 + step]

    return normals


@pytest.fixture(scope="module", params=RUNS)
def replay(request: pytest.FixtureRequest, fabric: Fabric, calibration: Tensor) -> Replay:
    reference, special = read_reference(request.param), read_meta()[request.param]["config"]["quant"]["special"]
    weights = {"l2": {"l2": 1.0}, "l2_sw": {"l2": 0.9, "sw": 0.1}}[special["loss_method"]]
    method = Replayed(
        thresholds=tuple(special["thresholds"]),
        iterations=special["iterations"],
        batch_size=special["batch_size"],
        lr=special["lr"],
        scale_lr=special["scale_lr"],
        indices=reference["tq_indices"],
        blocks=[],
    )
    loss = Loss(weights, special["loss_kwargs"]["sw_num_projections"])
    recipe = Recipe(method, SCHEME, loss, scale_dtype="float32")
    model = DecoderModel.load(REFERENCE / "models" / "tiny-llama")
    records = list(reconstruct(fabric, model, recipe, calibration, normals=recorded_normals(reference)))
    return Replay(request.param, records, method.blocks)


def test_every_step_has_the_recorded_loss(replay: Replay) -> None:
    ours = torch.tensor([step["loss"] for record in replay.records for step in record.trace], dtype=torch.float64)
    wanted = torch.tensor([loss for _, loss, _ in read_meta()[replay.name]["steps"]], dtype=torch.float64)
    torch.testing.assert_close(ours, wanted, rtol=1e-5, atol=0.0)


def test_start_is_the_recorded_one(replay: Replay) -> None:
    """Clipped weights, the frozen scale and zero point that follow, and the variables' first values."""
    for name, linear in replay.linears():
        assert torch.equal(linear.scale.reshape(-1, 1), replay.reference[f"{name}.scales"]), name
        assert torch.equal(linear.zero_point.reshape(-1, 1), replay.reference[f"{name}.zeros"]), name
        if f"{name}.rounding_init" in replay.reference:
            start = adaptive(replay.reference[f"{name}.weight_after_clip"]).rounding
            torch.testing.assert_close(
                start.reshape(-1, 32), replay.reference[f"{name}.rounding_init"], rtol=1e-5, atol=1e-5
            )


def test_every_scale_parameter_is_the_recorded_one(replay: Replay) -> None:
    for name, linear in replay.linears():
        wanted = replay.reference[f"{name}.output_scale_param"]
        torch.testing.assert_close(linear.scale_factor.detach().reshape(-1, 1), wanted, rtol=0.0, atol=1e-4)


def test_the_same_variables_are_hard_after_each_threshold(replay: Replay) -> None:
    compared = 0
    for index, block in enumerate(replay.blocks):
        for round_index, signs in enumerate(block.hardened):
            for name, ours in signs.items():
                wanted = replay.reference.get(f"block{index}.t{round_index}.{name}.rounding_sign_hard")
                if wanted is not None:
                    assert torch.equal(ours, wanted.float()), (index, round_index, name)
                    compared += 1
    assert compared == (2 * 5 * 7 if replay.name == "tesseraq_l2_sw" else 0)


def test_every_code_is_the_recorded_one_and_training_changed_some(replay: Replay) -> None:
    changed = 0
    for (name, linear), (path, weight) in zip(replay.linears(), packed_weights(replay), strict=True):
        wanted = replay.reference[f"final.{name}.codes"].to(torch.uint8)
        assert torch.equal(weight.codes, wanted), path
        start = adaptive(replay.reference[f"{name}.weight_after_clip"])
        changed += int((start.quantized(torch.float32).codes != wanted).sum())
        assert torch.equal(linear.zero_point.reshape(-1, 1), replay.reference[f"final.{name}.zeros"])
    assert changed >= 100, "a test that training cannot fail proves nothing"


def packed_weights(replay: Replay) -> Iterator[tuple[str, Any]]:
    for record in replay.records:
        for path, shape in record.shapes.items():
            yield path, unpack_weight(path, record.packed, shape, SCHEME)


def test_dequantized_model_gives_the_recorded_logits(replay: Replay) -> None:
    model = DecoderModel.load(REFERENCE / "models" / "tiny-llama").model
    tensors = {name: tensor for record in replay.records for name, tensor in record.packed.items()}
    shapes = {path: shape for record in replay.records for path, shape in record.shapes.items()}
    Artefact("tesseraq", SCHEME, "model", shapes, tensors).apply(model, "model")
    with torch.no_grad():
        logits = model(read_reference("calib")["eval_ids"]).logits
    torch.testing.assert_close(logits, replay.reference["final.eval_logits"], rtol=0.0, atol=2e-4)


def test_soft_weight_and_its_gradients_equal_the_recorded_ones(unit: Tensors) -> None:
    linear = adaptive(unit["tq.W"])
    assert torch.equal(linear.scale.reshape(-1, 1), unit["tq.scales"])
    torch.testing.assert_close(linear.rounding.detach().reshape(-1, 32), unit["tq.rounding_init"], rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        linear.rounding.copy_(unit["tq.rounding"].reshape(linear.rounding.shape))
        linear.scale_factor.copy_(unit["tq.out_scale"].reshape(linear.scale_factor.shape))
    output = linear()
    output.backward(unit["grad_out"])
    torch.testing.assert_close(output, unit["tq.dequant"], rtol=1e-6, atol=1e-6)
    for ours, name in ((linear.rounding, "tq.grad_rounding"), (linear.scale_factor, "tq.grad_out_scale")):
        wanted = unit[name]
        bound = 3e-6 * wanted.abs().max().item()
        torch.testing.assert_close(ours.grad.reshape(wanted.shape), wanted, rtol=0.0, atol=bound)


@pytest.mark.parametrize(("kind", "scheme"), [("per_channel", Scheme(2)), ("per_group", SCHEME)])
def test_clip_search_finds_the_recorded_ranges(unit: Tensors, kind: str, scheme: Scheme) -> None:
    weight = unit["clip.W"]
    grouped = scheme.group(weight)
    low, high = search_clip(weight, Moments.of(unit["clip.X"], scheme.group_size).second, scheme)
    assert torch.equal(low, unit[f"clip.{kind}.min"])
    assert torch.equal(high, unit[f"clip.{kind}.max"])
    assert torch.equal(grouped.clamp(low, high).reshape(weight.shape), unit[f"clip.{kind}.W_clipped"])


@pytest.mark.parametrize("share", [0.0, 0.005, 0.3, 0.75, 1.0])
@pytest.mark.parametrize("n", [1, 2, 7, 1001])
@pytest.mark.parametrize("ties", [False, True])
def test_quantile_is_torchs(share: float, n: int, ties: bool) -> None:
    values = torch.randn(n, generator=torch.Generator().manual_seed(0))
    values = values.clamp(-0.5, 0.5).mul(4).round() if ties else values
    assert quantile(values, share) == torch.quantile(values, share)


def test_hardening_fixes_the_surest_and_keeps_them() -> None:
    linear = adaptive(torch.randn(8, 64, generator=torch.Generator().manual_seed(1)))
    linear.harden(0.5)
    first = linear.rounding.detach().clone()
    assert first.isinf().float().mean() == pytest.approx(0.5, abs=0.02)
    soft = ~first.isinf()
    assert (rectified_sigmoid(first[soft]) - 0.5).abs().max() <= (rectified_sigmoid(first[~soft]) - 0.5).abs().min()
    linear.harden(0.1)
    assert torch.equal(linear.rounding[~soft], first[~soft])
    assert linear.rounding.isinf().float().mean() == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize(("batch_size", "n_samples"), [(1, 4), (2, 4), (4, 3)])
def test_samples_that_are_there_decide_the_batches(
    fabric: Fabric, calibration: Tensor, batch_size: int, n_samples: int
) -> None:
    """Nothing of a batch is dropped on the way to the loss, and no index points past the last sample."""
    seen: list[torch.Size] = []
    model = DecoderModel.load(REFERENCE / "models" / "tiny-llama")

    def note(_: object, arguments: tuple[Tensor, ...]) -> None:
        if torch.is_grad_enabled():
            seen.append(arguments[0].shape)

    for block in model.blocks:
        block.get_submodule("mlp").register_forward_pre_hook(note)
    method = TesseraQ(thresholds=(0.5,), iterations=3, batch_size=batch_size, start=RTN())
    list(reconstruct(fabric, model, Recipe(method, SCHEME, Loss({"l2": 1.0})), calibration[:n_samples]))
    assert seen == [torch.Size([min(batch_size, n_samples), 32, 64])] * 6
