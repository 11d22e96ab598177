"""The recorded OmniQuant run with LET and shift on OPT, replayed from its recorded start.

The recording also learns a scale between queries and keys. This replay does not: OPT rotates no positions into them, so
the scale cancels. If it mattered, losses and codes would tell.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor

from swq.checkpoint import Artefact, unpack_weight
from swq.losses import Loss
from swq.methods.omniquant import OmniQuant
from swq.methods.omniquant.block import OmniQuantBlock
from swq.methods.omniquant.let import NEAREST_TO_ZERO, away_from_zero
from swq.methods.quantizer import BlockContext, RangeQuantizer
from swq.models.adapter import DecoderModel
from swq.quant.scheme import Scheme
from swq.reconstruct.recipe import Recipe
from swq.reconstruct.resume import BlockRecord
from swq.reconstruct.runner import reconstruct
from tests.support.reference import Tensors, read_meta, read_reference
from tests.support.repository import REFERENCE

SCHEME = Scheme(3, 32)
RECORDED = {"self_attn_layer_norm": "qkv", "self_attn/v_proj": "out", "final_layer_norm": "fc1"}  # ours: theirs
ENDS = {"low_factor": "buf_lowbound_factor", "up_factor": "buf_upbound_factor"}


@dataclass(frozen=True)
class RecordedStart(OmniQuant):
    """OmniQuant whose scales and shifts start where the recording's did."""

    def quantizer(self, block: BlockContext) -> RangeQuantizer:
        made, reference = OmniQuantBlock(self, block), read_reference("omniq_let_opt")
        assert made.transform is not None
        index = next(i for i in range(2) if f"model.decoder.layers.{i}" == BLOCK_NAMES[id(block.block)])
        with torch.no_grad():
            for ours, theirs in RECORDED.items():
                made.transform.scales[ours].copy_(reference[f"block{index}.init.{theirs}_smooth_scale"])
                made.transform.shifts[ours].copy_(reference[f"block{index}.init.{theirs}_smooth_shift"])
        return made


BLOCK_NAMES: dict[int, str] = {}


@pytest.fixture(scope="module")
def records(fabric: Fabric, calibration: Tensor) -> list[BlockRecord]:
    special = read_meta()["omniq_let_opt"]["config"]["quant"]["special"]
    method = RecordedStart(
        special["epochs"],
        special["lwc_lr"],
        special["wd"],
        let=True,
        let_lr=special["let_lr"],
        let_shift=special["use_shift"],
        let_alpha=special["alpha"],
    )
    model = DecoderModel.load(REFERENCE / "models" / "tiny-opt")
    BLOCK_NAMES.update({id(block): model.block_name(i) for i, block in enumerate(model.blocks)})
    recipe = Recipe(method, SCHEME, Loss({"mse": 1.0}), scale_dtype="float32")
    return list(reconstruct(fabric, model, recipe, calibration))


@pytest.fixture
def reference() -> Tensors:
    return read_reference("omniq_let_opt")


def test_every_step_has_the_recorded_loss(records: list[BlockRecord]) -> None:
    ours = torch.tensor([step["loss"] for record in records for step in record.trace], dtype=torch.float64)
    wanted = torch.tensor([loss for _, loss, _ in read_meta()["omniq_let_opt"]["steps"]], dtype=torch.float64)
    torch.testing.assert_close(ours, wanted, rtol=1e-6, atol=0.0)


def test_every_code_is_the_recorded_one(records: list[BlockRecord], reference: Tensors) -> None:
    for record in records:
        for path, shape in record.shapes.items():
            ours = unpack_weight(path, record.packed, shape, SCHEME)
            name = path.replace("model.decoder.layers.", "final.block")
            assert torch.equal(ours.codes, reference[f"{name}.codes"].to(torch.uint8)), path
            assert torch.equal(ours.zero_point.reshape(-1, 1).float(), reference[f"{name}.zeros"]), path


def test_what_was_learned_is_the_recorded(records: list[BlockRecord], reference: Tensors) -> None:
    for index, record in enumerate(records):
        for ours, theirs in RECORDED.items():
            path = f"model.decoder.layers.{index}.{ours.replace('/', '.')}"
            for kind in ("scale", "shift"):
                wanted = reference[f"block{index}.final.{theirs}_smooth_{kind}"]
                torch.testing.assert_close(record.learned[f"{path}.let_{kind}"], wanted, rtol=1e-4, atol=1e-5)
                assert not torch.equal(wanted, reference[f"block{index}.init.{theirs}_smooth_{kind}"])
        for path in record.shapes:
            name = path.replace(f"model.decoder.layers.{index}.", f"block{index}.final.")
            for ours, theirs in ENDS.items():
                given = record.learned[f"{path}.{ours}"].reshape(-1, 1)
                torch.testing.assert_close(given, reference[f"{name}.{theirs}"], rtol=1e-4, atol=1e-4)


def test_norms_and_biases_are_the_recorded_ones(records: list[BlockRecord], reference: Tensors) -> None:
    """Those of queries and keys aside: the recording scales them against each other."""
    for index, record in enumerate(records):
        changed = {name.removeprefix(f"model.decoder.layers.{index}."): t for name, t in record.changed.items()}
        assert len(changed) == 4 + 5, "weight and bias of two norms, biases of every linear but fc2"
        for name, ours in changed.items():
            module, _, kind = name.rpartition(".")
            theirs = f"ln_{kind}" if "norm" in module else kind
            if not module.endswith(("q_proj", "k_proj")):
                wanted = reference[f"final.block{index}.{module}.{theirs}"]
                torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=2e-5)


def test_quantized_model_gives_the_recorded_logits(records: list[BlockRecord], reference: Tensors) -> None:
    model = DecoderModel.load(REFERENCE / "models" / "tiny-opt").model
    for r in records:
        Artefact("omniquant", SCHEME, "m", r.shapes, r.packed, r.changed).apply(model, "m")
    with torch.no_grad():
        logits = model(read_reference("calib")["eval_ids"]).logits
    torch.testing.assert_close(logits, reference["final.eval_logits"], rtol=0.0, atol=2e-4)


def test_scale_stays_away_from_zero_as_recorded(unit: Tensors) -> None:
    """But for an exact 0, which theirs leaves, and then divides by."""
    given = torch.nn.Parameter(unit["trunc.in"].clone())
    wanted = torch.where(unit["trunc.in"] == 0, NEAREST_TO_ZERO, unit["trunc.out"])
    kept = away_from_zero(given)
    assert torch.equal(kept, wanted)
    kept.sum().backward()
    assert given.grad is not None and torch.equal(given.grad, unit["trunc.grad"])
