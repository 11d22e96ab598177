"""Weights read block by block give what the whole model gives, and leave nothing behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from lightning.fabric import Fabric
from safetensors.torch import load_file, save_file

from swq.checkpoint import Artefact
from swq.errors import UserError
from swq.losses import Loss
from swq.methods.awq import AWQ
from swq.methods.tesseraq import TesseraQ
from swq.models.adapter import DecoderModel
from swq.quant.scheme import Scheme
from swq.reconstruct.recipe import Recipe
from swq.reconstruct.runner import reconstruct
from swq.streaming import stream
from tests.support.families import FAMILIES, UNKNOWN, tiny_model

CPU = torch.device("cpu")
TOKENS = torch.randint(0, 96, (3, 24), generator=torch.Generator().manual_seed(5))
PLENTY = 10**12


@pytest.fixture(params=[*FAMILIES, *UNKNOWN, "llama-tied"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    name = request.param.removesuffix("-tied")
    tiny_model(name, tie_word_embeddings=request.param.endswith("-tied")).model.save_pretrained(tmp_path)
    return tmp_path


def is_empty(model: DecoderModel) -> bool:
    return all(parameter.is_meta for parameter in model.model.parameters())


@pytest.mark.parametrize("budget", [0, PLENTY])
def test_streamed_model_computes_what_the_whole_one_does(folder: Path, budget: int) -> None:
    whole = DecoderModel.load(folder).model
    model, resident = stream(DecoderModel.open(folder), CPU, budget)
    assert resident == (2 if budget else 0)
    with torch.no_grad():
        for _ in range(2):  # a block that was let go of comes back
            assert torch.equal(model(TOKENS).logits, whole(TOKENS).logits)


def test_budget_keeps_as_many_blocks_as_leave_room_for_another(tmp_path: Path) -> None:
    tiny_model("llama", num_hidden_layers=4).model.save_pretrained(tmp_path)
    whole = DecoderModel.load(tmp_path)
    block = sum(p.numel() for p in whole.blocks[0].parameters()) * 4
    rest = sum(p.numel() for p in whole.model.parameters()) * 4 - 4 * block
    kept = [stream(DecoderModel.open(tmp_path), CPU, rest + n * block)[1] for n in range(6)]
    assert kept == [0, 0, 1, 2, 4, 4]


def test_first_inputs_come_from_disk_and_are_let_go_of(folder: Path) -> None:
    whole, opened = DecoderModel.load(folder), DecoderModel.open(folder)
    hidden, kwargs = opened.first_inputs(TOKENS)
    assert torch.equal(hidden, whole.first_inputs(TOKENS)[0]) and len(kwargs) == 2
    assert is_empty(opened)


@pytest.mark.parametrize("name", ["llama-grouped", "opt"])
def test_walk_from_disk_leaves_the_same_artefact_and_an_empty_model(fabric: Fabric, tmp_path: Path, name: str) -> None:
    tiny_model(name).model.save_pretrained(tmp_path)
    method = TesseraQ((0.5, 0.1), iterations=2, batch_size=2, lr=0.02, start=AWQ())
    recipe = Recipe(method, Scheme(3, 32), Loss({"l2": 0.9, "sw": 0.1}, 8), seed=1)
    opened = DecoderModel.open(tmp_path)
    held = []  # how many blocks have values while the walk stands between two of them
    streamed = []
    for record in reconstruct(fabric, opened, recipe, TOKENS):
        held.append(sum(not p.is_meta for p in opened.model.parameters()))
        streamed.append(record)
    whole = list(reconstruct(fabric, DecoderModel.load(tmp_path), recipe, TOKENS))
    assert held == [0, 0] and is_empty(opened)
    for ours, theirs in zip(streamed, whole, strict=True):
        assert ours.trace == theirs.trace
        for part in ("packed", "changed", "learned"):
            given, wanted = getattr(ours, part), getattr(theirs, part)
            assert given.keys() == wanted.keys() and all(torch.equal(given[key], wanted[key]) for key in wanted)


def test_stored_weights_stand_in_for_the_models_own(fabric: Fabric, tmp_path: Path) -> None:
    tiny_model("opt").model.save_pretrained(tmp_path)
    whole = DecoderModel.load(tmp_path)
    records = list(reconstruct(fabric, whole, Recipe(AWQ(), Scheme(3, 32), None), TOKENS))
    shapes, packed, changed = ({k: v for r in records for k, v in getattr(r, part).items()} for part in PARTS)
    Artefact("awq", Scheme(3, 32), "m", shapes, packed, changed).save(tmp_path / "packed")
    stored = Artefact.load(tmp_path / "packed")
    stored.apply(whole.model, "m")
    assert changed
    for budget in (0, PLENTY):
        model, _ = stream(DecoderModel.open(tmp_path, overlay=stored.over), CPU, budget)
        with torch.no_grad():
            assert torch.equal(model(TOKENS).logits, whole.model(TOKENS).logits)


PARTS = ("shapes", "packed", "changed")


def test_half_precision_is_that_of_the_whole_model(tmp_path: Path) -> None:
    tiny_model("llama").model.save_pretrained(tmp_path)
    model, _ = stream(DecoderModel.open(tmp_path, torch.float16), CPU, 0)
    whole = DecoderModel.load(tmp_path, torch.float16).model
    with torch.no_grad():
        assert torch.equal(model(TOKENS).logits, whole(TOKENS).logits)


def test_checkpoint_saved_from_the_decoder_alone(tmp_path: Path) -> None:
    whole = tiny_model("opt").model
    whole.save_pretrained(tmp_path)
    tensors = {name.removeprefix("model."): t for name, t in load_file(tmp_path / "model.safetensors").items()}
    save_file(tensors, tmp_path / "model.safetensors")
    model, _ = stream(DecoderModel.open(tmp_path), CPU, PLENTY)
    with torch.no_grad():
        assert torch.equal(model(TOKENS).logits, whole(TOKENS).logits)


def test_checkpoint_in_several_files(tmp_path: Path) -> None:
    whole = tiny_model("llama").model
    whole.save_pretrained(tmp_path, max_shard_size="100KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    model, _ = stream(DecoderModel.open(tmp_path), CPU, 0)
    with torch.no_grad():
        assert torch.equal(model(TOKENS).logits, whole(TOKENS).logits)


def test_missing_tensor_and_wrong_shape_are_named(tmp_path: Path) -> None:
    tiny_model("llama").model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    save_file({key: value for key, value in tensors.items() if key != name}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=f"hold no {name}"):
        DecoderModel.open(tmp_path)
    save_file(tensors | {name: tensors[name][:5].contiguous()}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=rf"{name} has shape \(5, 64\).*\(96, 64\)"):
        DecoderModel.open(tmp_path).fill_block(1, CPU)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    whole = tiny_model("llama").model
    whole.save_pretrained(tmp_path, max_shard_size="100KB")
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    shard = tmp_path / index["weight_map"]["model.layers.1.mlp.up_proj.weight"]
    shard.write_bytes(shard.read_bytes()[:200])
    with pytest.raises(UserError, match=f"{shard.name} is damaged"):
        DecoderModel.open(tmp_path).fill_block(1, CPU)
    shard.unlink()  # still in the index
    with pytest.raises(UserError, match=f"{shard.name} is damaged"):
        DecoderModel.open(tmp_path).fill_block(1, CPU)
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(UserError, match="are damaged"):
        DecoderModel.open(tmp_path)
