"""The recorded OmniQuant run with LET on LLaMA, a scale between queries and keys included, replayed from its start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor
from torch.func import functional_call

from swq.checkpoint import Artefact, unpack_weight
from swq.errors import UserError
from swq.losses import Loss
from swq.methods.omniquant import OmniQuant
from swq.methods.omniquant.block import OmniQuantBlock
from swq.methods.omniquant.let import scale_rows
from swq.methods.quantizer import BlockContext, RangeQuantizer
from swq.models.adapter import DecoderModel, block_output
from swq.quant.scheme import Scheme
from swq.reconstruct.data import ActivationPaths
from swq.reconstruct.recipe import Recipe
from swq.reconstruct.resume import BlockRecord
from swq.reconstruct.runner import reconstruct
from tests.support.families import tiny_model
from tests.support.reference import Tensors, read_meta, read_reference
from tests.support.repository import REFERENCE

SCHEME = Scheme(3, 32)
RECORDED = {
    "input_layernorm": "qkv",
    "self_attn/v_proj": "out",
    "post_attention_layernorm": "fc1",
    "self_attn/q_proj": "qkt",
}  # ours: theirs
ENDS = {"low_factor": "buf_lowbound_factor", "up_factor": "buf_upbound_factor"}


@dataclass(frozen=True)
class RecordedStart(OmniQuant):
    """OmniQuant whose scales start where the recording's did. `index_of` tells a block by itself."""

    index_of: Callable[[Any], int] = lambda block: 0

    def quantizer(self, block: BlockContext) -> RangeQuantizer:
        made, reference = OmniQuantBlock(self, block), read_reference("omniq_let_llama")
        assert made.transform is not None and not made.transform.shifts
        with torch.no_grad():
            for ours, scale in made.transform.scales.items():
                scale.copy_(reference[f"block{self.index_of(block.block)}.init.{RECORDED[ours]}_smooth_scale"])
        return made


def replayed(fabric: Fabric, calibration: Tensor, query_key: bool = True) -> list[BlockRecord]:
    special = read_meta()["omniq_let_llama"]["config"]["quant"]["special"]
    model = DecoderModel.load(REFERENCE / "models" / "tiny-llama")
    method = RecordedStart(
        special["epochs"],
        special["lwc_lr"],
        special["wd"],
        let=True,
        let_lr=special["let_lr"],
        let_shift=special["use_shift"],
        let_alpha=special["alpha"],
        let_query_key=query_key,
        index_of=list(model.blocks).index,
    )
    recipe = Recipe(method, SCHEME, Loss({"mse": 1.0}), scale_dtype="float32")
    return list(reconstruct(fabric, model, recipe, calibration))


@pytest.fixture(scope="module")
def records(fabric: Fabric, calibration: Tensor) -> list[BlockRecord]:
    return replayed(fabric, calibration)


@pytest.fixture
def reference() -> Tensors:
    return read_reference("omniq_let_llama")


def losses(records: list[BlockRecord]) -> Tensor:
    return torch.tensor([step["loss"] for record in records for step in record.trace], dtype=torch.float64)


def recorded_losses() -> Tensor:
    return torch.tensor([loss for _, loss, _ in read_meta()["omniq_let_llama"]["steps"]], dtype=torch.float64)


def other_codes(records: list[BlockRecord], reference: Tensors) -> int:
    found = 0
    for record in records:
        for path, shape in record.shapes.items():
            ours = unpack_weight(path, record.packed, shape, SCHEME)
            name = path.replace("model.layers.", "final.block")
            found += int((ours.codes != reference[f"{name}.codes"].to(torch.uint8)).sum())
            found += int((ours.zero_point.reshape(-1, 1).float() != reference[f"{name}.zeros"]).sum())
    return found


def test_every_step_has_the_recorded_loss(records: list[BlockRecord]) -> None:
    torch.testing.assert_close(losses(records), recorded_losses(), rtol=1e-5, atol=0.0)


def test_every_code_is_the_recorded_one(records: list[BlockRecord], reference: Tensors) -> None:
    assert other_codes(records, reference) == 0


def test_what_was_learned_is_the_recorded(records: list[BlockRecord], reference: Tensors) -> None:
    for index, record in enumerate(records):
        for ours, theirs in RECORDED.items():
            wanted = reference[f"block{index}.final.{theirs}_smooth_scale"]
            given = record.learned[f"model.layers.{index}.{ours.replace('/', '.')}.let_scale"]
            torch.testing.assert_close(given, wanted, rtol=1e-4, atol=1e-5)
        assert (reference[f"block{index}.final.qkt_smooth_scale"] - 1).abs().max() > 0.05, "it has hardly moved"
        for path in record.shapes:
            name = path.replace(f"model.layers.{index}.", f"block{index}.final.")
            for end, their_end in ENDS.items():
                given = record.learned[f"{path}.{end}"].reshape(-1, 1)
                torch.testing.assert_close(given, reference[f"{name}.{their_end}"], rtol=1e-4, atol=1e-4)


def test_quantized_model_gives_the_recorded_logits(records: list[BlockRecord], reference: Tensors) -> None:
    model = DecoderModel.load(REFERENCE / "models" / "tiny-llama").model
    for r in records:
        Artefact("omniquant", SCHEME, "m", r.shapes, r.packed, r.changed).apply(model, "m")
    with torch.no_grad():
        logits = model(read_reference("calib")["eval_ids"]).logits
    torch.testing.assert_close(logits, reference["final.eval_logits"], rtol=0.0, atol=2e-4)


def test_without_the_scale_it_is_another_run(fabric: Fabric, calibration: Tensor, reference: Tensors) -> None:
    without = replayed(fabric, calibration, query_key=False)
    assert (losses(without) / recorded_losses() - 1).abs().max() > 0.01
    assert other_codes(without, reference) > 50


@pytest.mark.parametrize(("name", "cancels"), [("opt", True), ("llama", False), ("qwen3", False)])
def test_the_scale_cancels_where_nothing_is_rotated(fabric: Fabric, name: str, cancels: bool) -> None:
    """With the quantizer off, and a scale far from where it starts."""
    model = tiny_model(name, num_key_value_heads=4) if name == "qwen3" else tiny_model(name)
    paths = ActivationPaths(fabric, model, torch.randint(0, 96, (3, 24), generator=torch.Generator().manual_seed(5)))
    tensors = {key: tensor.clone() for key, tensor in model.blocks[0].named_parameters()}
    scale = 1 + 0.5 * torch.rand(len(tensors["self_attn.q_proj.weight"]), generator=torch.Generator().manual_seed(6))
    assert model.family.query_key is not None
    scale_rows(tensors, *model.family.query_key, scale)
    with torch.no_grad():
        plain = functional_call(model.blocks[0], {}, (paths.fp_hidden,), paths.kwargs(0))
        given = functional_call(model.blocks[0], tensors, (paths.fp_hidden,), paths.kwargs(0))
    wanted = block_output(plain, paths.fp_hidden.shape)
    difference = (block_output(given, paths.fp_hidden.shape) - wanted).norm() / wanted.norm()
    assert difference < 1e-5 if cancels else difference > 1e-3


def test_what_cannot_have_the_scale_is_told(fabric: Fabric) -> None:
    tokens = torch.randint(0, 96, (2, 8))
    recipe = Recipe(OmniQuant(1, let=True, let_query_key=True), SCHEME, Loss({"mse": 1.0}))
    with pytest.raises(UserError, match=r"as many channels of keys as of queries, not \[64, 32\]"):
        next(reconstruct(fabric, tiny_model("llama-grouped"), recipe, tokens))
    unknown = tiny_model("llama")
    unknown.family = replace(unknown.family, query_key=None)
    with pytest.raises(UserError, match="let_query_key needs a family that names the linears of queries and of keys"):
        next(reconstruct(fabric, unknown, recipe, tokens))
    with pytest.raises(UserError, match="let_query_key needs let, which is off"):
        OmniQuant(let_query_key=True)
