"""The packed artefact: what is written is read back, byte for byte the same, and a wrong file says what it is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from swq.checkpoint import FORMAT, VERSION, WITH_BIASES, Artefact, pack_weight
from swq.errors import UserError
from swq.models.adapter import DecoderModel
from swq.quant.affine import quantize_weight
from swq.quant.scheme import Scheme
from swq.tensor_file import write_tensors

MODEL = "0123456789abcdef" * 4
OTHER_MODEL = "fedcba9876543210" * 4


def artefact_of(model: DecoderModel, scheme: Scheme, scale_dtype: torch.dtype = torch.float16) -> Artefact:
    """Return the model rounded to nearest."""
    tensors: dict[str, torch.Tensor] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for index in range(len(model.blocks)):
        for name, linear in model.linears(index).items():
            path = f"{model.block_name(index)}.{name}"
            tensors |= pack_weight(path, quantize_weight(linear.weight, scheme, scale_dtype=scale_dtype))
            shapes[path] = tuple(linear.weight.shape)
    return Artefact("rtn", scheme, MODEL, shapes, tensors)


@pytest.fixture
def artefact(tiny_llama: DecoderModel) -> Artefact:
    return artefact_of(tiny_llama, Scheme(3, 32))


@pytest.mark.parametrize("scheme", [Scheme(2), Scheme(3, 32), Scheme(4, 64), Scheme(8, 16)])
@pytest.mark.parametrize("scale_dtype", [torch.float16, torch.float32])
def test_artefact_survives_the_disk(
    tiny_llama: DecoderModel, tmp_path: Path, scheme: Scheme, scale_dtype: torch.dtype
) -> None:
    saved = artefact_of(tiny_llama, scheme, scale_dtype)
    saved.save(tmp_path / "packed.safetensors")
    loaded = Artefact.load(tmp_path / "packed.safetensors")
    assert replace(loaded, tensors={}) == replace(saved, tensors={})
    assert loaded.tensors.keys() == saved.tensors.keys()
    for path in saved.shapes:
        wanted = quantize_weight(tiny_llama.model.get_parameter(f"{path}.weight"), scheme, scale_dtype=scale_dtype)
        given = loaded.weight(path)
        assert torch.equal(given.codes, wanted.codes)
        assert torch.equal(given.scale, wanted.scale) and given.scale.dtype == scale_dtype
        assert torch.equal(given.zero_point, wanted.zero_point)


def test_artefact_of_full_precision_is_empty(tmp_path: Path) -> None:
    saved = Artefact("fp", None, MODEL, {}, {})
    saved.save(tmp_path / "fp.safetensors")
    assert Artefact.load(tmp_path / "fp.safetensors") == saved


def test_equal_content_gives_equal_bytes(artefact: Artefact, tmp_path: Path) -> None:
    """Also where a dictionary was filled in another order: a resumed run fills it block by block."""
    reordered = replace(
        artefact,
        shapes=dict(reversed(artefact.shapes.items())),
        tensors=dict(reversed(artefact.tensors.items())),
    )
    artefact.save(tmp_path / "a")
    artefact.save(tmp_path / "b")
    reordered.save(tmp_path / "c")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()


@pytest.mark.parametrize(
    ("scheme", "scale_dtype", "bits"),
    [
        (Scheme(3, 32), torch.float16, 3 + (16 + 3) / 32),
        (Scheme(2, 64), torch.float16, 2 + (16 + 2) / 64),
        (Scheme(4, 32), torch.float32, 4 + (32 + 4) / 32),
        # Per channel: 4 matrices of 64 rows of 64, 2 of 128 rows of 64, 1 of 64 rows of 128.
        (Scheme(2), torch.float16, 2 + (16 + 2) * (4 * 64 + 2 * 128 + 64) / (4 * 64 * 64 + 3 * 64 * 128)),
    ],
)
def test_bits_per_weight_counts_codes_scales_and_zero_points(
    tiny_llama: DecoderModel, scheme: Scheme, scale_dtype: torch.dtype, bits: float
) -> None:
    assert artefact_of(tiny_llama, scheme, scale_dtype).bits_per_weight() == pytest.approx(bits, rel=1e-12)


def test_full_precision_has_no_bits_per_weight() -> None:
    assert Artefact("fp", None, MODEL, {}, {}).bits_per_weight() is None


def test_file_is_as_small_as_the_bits_say(artefact: Artefact, tmp_path: Path) -> None:
    """Codes stored a byte each would pass every other test."""
    artefact.save(tmp_path / "packed")
    content = sum(tensor.nbytes for tensor in artefact.tensors.values())
    assert content == 2 * 40960 * (3 + 19 / 32) / 8
    header = int.from_bytes((tmp_path / "packed").read_bytes()[:8], "little")
    assert (tmp_path / "packed").stat().st_size == 8 + header + content


def test_apply_overwrites_the_quantized_linears_only(tiny_llama: DecoderModel, artefact: Artefact) -> None:
    before = {name: tensor.clone() for name, tensor in tiny_llama.model.state_dict().items()}
    artefact.apply(tiny_llama.model, MODEL)
    for name, tensor in tiny_llama.model.state_dict().items():
        path = name.removesuffix(".weight")
        wanted = artefact.weight(path).dequantize() if path in artefact.shapes else before[name]
        assert torch.equal(tensor, wanted), name
    assert not torch.equal(before["model.layers.0.mlp.up_proj.weight"], tiny_llama.blocks[0].mlp.up_proj.weight)


def test_artefact_of_another_model_is_refused(tiny_llama: DecoderModel, artefact: Artefact) -> None:
    """It would fit in shape and score nonsense; nothing may be overwritten before the check."""
    before = tiny_llama.blocks[0].mlp.up_proj.weight.clone()
    with pytest.raises(UserError, match=r"made from model 0123456789ab, not from this one \(fedcba987654\)"):
        artefact.apply(tiny_llama.model, OTHER_MODEL)
    assert torch.equal(tiny_llama.blocks[0].mlp.up_proj.weight, before)


@pytest.mark.parametrize("left", [0.0, 0.001, 0.1, 0.5, 0.9999])
def test_truncated_file_is_refused(artefact: Artefact, tmp_path: Path, left: float) -> None:
    path = tmp_path / "packed"
    artefact.save(path)
    path.write_bytes(path.read_bytes()[: int(left * path.stat().st_size)])
    with pytest.raises(UserError, match="packed is damaged, or was not written by this version of swq"):
        Artefact.load(path)


@pytest.mark.parametrize("place", [0.05, 0.3, 0.5, 0.7, 0.999])
def test_file_with_a_flipped_bit_is_refused(artefact: Artefact, tmp_path: Path, place: float) -> None:
    """Its structure may be intact; a changed code would be scored without a word."""
    path = tmp_path / "packed"
    artefact.save(path)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 4
    path.write_bytes(content)
    with pytest.raises(UserError, match="packed is damaged, or was not written by this version of swq"):
        Artefact.load(path)


def test_files_of_others_are_refused(tmp_path: Path) -> None:
    """A safetensors file without our header, one with another header, and no safetensors file at all."""
    save_file({"weight": torch.zeros(2)}, tmp_path / "model")
    write_tensors(tmp_path / "block", {"weight": torch.zeros(2)}, {"shapes": {}, "trace": []})
    (tmp_path / "text").write_text(json.dumps({"format": FORMAT}))
    for name, message in {
        "model": "is damaged, or was not written by this version of swq",
        "block": "is not a swq-packed artefact",
        "text": "is damaged, or was not written by this version of swq",
    }.items():
        with pytest.raises(UserError, match=f"{name} {message}"):
            Artefact.load(tmp_path / name)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no .*nowhere"):
        Artefact.load(tmp_path / "nowhere")


def test_other_version_is_refused_with_both_numbers(tmp_path: Path) -> None:
    newer = WITH_BIASES + 1
    write_tensors(tmp_path / "new", {}, {"format": FORMAT, "version": newer})
    known = f"this code reads versions {VERSION} to {WITH_BIASES}"
    with pytest.raises(UserError, match=f"new is an artefact of version {newer}; {known}"):
        Artefact.load(tmp_path / "new")
