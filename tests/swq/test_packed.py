"""Packed folders: compressed-tensors finds the same codes, and plain transformers the same logits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32, unpack_from_int32
from lightning.fabric import Fabric
from packaging.requirements import Requirement
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

import swq
from swq.api import Quantized
from swq.packed import WRITTEN_FOR, pack_rows, unpack_rows
from tests.support.elsewhere import logits_elsewhere
from tests.support.families import tiny_lm
from tests.support.repository import ROOT

BITS = (2, 3, 4, 8)
ODD: dict[str, Any] = {"hidden_size": 56, "intermediate_size": 100, "head_dim": 14}  # no multiples of 32


def tokens() -> Tensor:
    return torch.randint(0, 96, (2, 16), generator=torch.Generator().manual_seed(0))


def codes_of(n_bits: int, shape: tuple[int, int]) -> Tensor:
    draw = torch.Generator().manual_seed(n_bits)
    codes = torch.randint(0, 2**n_bits, shape, generator=draw, dtype=torch.uint8)
    codes.view(-1)[0], codes.view(-1)[-1] = 0, 2**n_bits - 1
    return codes


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (7, 31), (5, 32), (2, 33), (9, 100), (4, 64), (33, 3)])
@pytest.mark.parametrize("n_bits", BITS)
def test_packing_is_that_of_compressed_tensors(n_bits: int, shape: tuple[int, int]) -> None:
    codes = codes_of(n_bits, shape)
    signed = (codes.int() - 2 ** (n_bits - 1)).to(torch.int8)
    words = pack_rows(codes, n_bits)
    assert torch.equal(words, pack_to_int32(signed, n_bits))
    assert torch.equal(unpack_from_int32(words, n_bits, torch.Size(shape)), signed)
    assert torch.equal(unpack_rows(words, n_bits, shape[1]), codes)
    assert torch.equal(pack_rows(codes.T, n_bits).T, pack_to_int32(signed, n_bits, packed_dim=0))


def cases() -> Iterator[tuple[str, PreTrainedModel, str]]:
    """Yield a name, a model and a scheme: every width, odd sizes, a head that is the embedding."""
    for n_bits in BITS:
        for scheme in (f"w{n_bits}a16", f"w{n_bits}a16g4"):
            yield f"odd-{scheme}", tiny_lm("llama-grouped", **ODD), scheme
    yield "tied", tiny_lm("llama", tie_word_embeddings=True), "w4a16g32"


def test_packed_folders_open_elsewhere(fabric: Fabric, tmp_path: Path) -> None:
    wanted: dict[Path, Tensor] = {}
    made: dict[Path, Quantized] = {}
    for name, model, scheme in cases():
        found = swq.quantize(model, None, scheme, swq.RTN(), scale_dtype="float32", fabric=fabric)
        found.export(tmp_path / name, model, packed=True)
        with torch.no_grad():
            before = model(tokens()).logits
            found.apply(model)
            wanted[tmp_path / name], made[tmp_path / name] = model(tokens()).logits, found
        assert (before - wanted[tmp_path / name]).abs().max() > 1e-3, f"{name}: rounding moves its logits"
    opened = logits_elsewhere(wanted, tokens(), tmp_path)
    assert opened.keys() == wanted.keys() and len(wanted) == 8 + 1
    for place, expected in wanted.items():
        torch.testing.assert_close(
            opened[place], expected, rtol=0, atol=1e-4, msg=lambda said, at=place: f"{at.name}: {said}"
        )
        _codes_are_exact(place, made[place])


def _codes_are_exact(folder: Path, found: Quantized) -> None:
    tensors, artefact = load_file(folder / "model.safetensors"), found.artefact
    assert artefact.scheme is not None
    n_bits = artefact.scheme.n_bits
    for path, shape in artefact.shapes.items():
        weight = artefact.weight(path)
        assert f"{path}.weight" not in tensors and tensors[f"{path}.weight_shape"].tolist() == list(shape)
        codes = unpack_from_int32(tensors[f"{path}.weight_packed"], n_bits, torch.Size(shape))
        assert torch.equal(codes.int() + 2 ** (n_bits - 1), weight.codes.int())
        scale = tensors[f"{path}.weight_scale"]
        zero_points = unpack_from_int32(tensors[f"{path}.weight_zero_point"], n_bits, scale.shape, packed_dim=0)
        assert torch.equal(zero_points.int() + 2 ** (n_bits - 1), weight.zero_point.squeeze(-1).int())
        assert torch.equal(scale, weight.scale.squeeze(-1))


@pytest.mark.parametrize("scale_dtype", ["float16", "float32"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_are_those_of_the_plain_folder(
    dtype: torch.dtype, scale_dtype: str, fabric: Fabric, tmp_path: Path
) -> None:
    model = tiny_lm("llama")
    found = swq.quantize(model, None, "w3a16g32", swq.RTN(), scale_dtype=scale_dtype, fabric=fabric)
    for name in ("packed", "plain"):
        found.export(tmp_path / name, model, dtype=dtype, packed=name == "packed")
    packed, plain = (AutoModelForCausalLM.from_pretrained(tmp_path / name) for name in ("packed", "plain"))
    assert packed.dtype == dtype
    for name, tensor in plain.state_dict().items():
        assert torch.equal(packed.state_dict()[name], tensor)


def test_the_folder_says_what_it_is(fabric: Fabric, tmp_path: Path) -> None:
    model = tiny_lm("opt-post-norm")
    found = swq.quantize(model, None, "w4a16", swq.RTN(), fabric=fabric)
    found.export(tmp_path / "packed", model, packed=True)
    found.export(tmp_path / "plain", model)
    said = json.loads((tmp_path / "packed/config.json").read_text())["quantization_config"]
    assert said["dequantize"] is True and said["format"] == "pack-quantized" and said["version"] == WRITTEN_FOR
    assert said["ignore"] == ["lm_head", "model.decoder.project_in", "model.decoder.project_out"]
    assert said["config_groups"]["group_0"]["weights"]["strategy"] == "channel"
    assert "quantization_config" not in json.loads((tmp_path / "plain/config.json").read_text())
    card = (tmp_path / "packed/README.md").read_text()
    assert (
        f"(tested: {WRITTEN_FOR};" in card
        and "packed codes, scales and zero points; everything else in float32" in card
    )
    size = {name: (tmp_path / name / "model.safetensors").stat().st_size for name in ("packed", "plain")}
    n_weights = sum(out * inputs for out, inputs in found.artefact.shapes.values())
    assert size["plain"] - size["packed"] > 0.8 * n_weights * (4 - found.bits_per_weight / 8)


def test_the_version_is_the_one_that_is_installed_here() -> None:
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra in ("packed", "dev"):
        (named,) = (text for text in extras[extra] if Requirement(text).name == "compressed-tensors")
        assert str(Requirement(named).specifier) == f"=={WRITTEN_FOR}"
    assert f"compressed-tensors=={WRITTEN_FOR}" in (ROOT / "constraints.txt").read_text().splitlines()
