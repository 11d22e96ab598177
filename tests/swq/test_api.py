"""swq.quantize: the codes of the walk over blocks, from a folder or a model that the caller holds and keeps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

import swq
from swq.api import Quantized
from swq.checkpoint import Artefact
from swq.errors import UserError
from swq.models.adapter import DecoderModel
from swq.reconstruct.recipe import Recipe
from swq.reconstruct.runner import reconstruct
from tests.support.families import FAMILIES, tiny_lm
from tests.support.repository import REFERENCE, ROOT

FOLDER = REFERENCE / "models" / "tiny-llama"
SCHEME = "w2a16g32"
LOSS = {"mse": 0.9, "sw": 0.1}
METHODS: dict[str, tuple[Any, dict[str, float] | None]] = {
    "rtn": (swq.RTN(), None),
    "awq": (swq.AWQ(), None),
    "gptq": (swq.GPTQ(), None),
    "omniquant": (swq.OmniQuant(epochs=1), LOSS),
    "tesseraq": (swq.TesseraQ((0.5,), iterations=2), {"l2": 0.9, "sw": 0.1}),
    "apiq": (swq.ApiQ(4, 1, saliency_weight=0.5, saliency_samples=2), LOSS),
}
TOKENS = torch.randint(0, 96, (2, 16), generator=torch.Generator().manual_seed(0))


def held(dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=dtype)
    return model


def same(one: Quantized, other: Quantized) -> bool:
    ours, theirs = one.artefact.tensors, other.artefact.tensors
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("method", METHODS)
def test_codes_are_those_of_the_walk(method: str, fabric: Fabric, calibration: Tensor) -> None:
    """From a folder, and from the same model in memory."""
    settings, loss = METHODS[method]
    recipe = Recipe(settings, swq.Scheme.parse(SCHEME), swq.Loss(loss) if loss else None, seed=3)
    packed: dict[str, Tensor] = {}
    for block in reconstruct(fabric, DecoderModel.load(FOLDER), recipe, calibration):
        packed |= block.packed
    found = swq.quantize(FOLDER, calibration, SCHEME, settings, loss, seed=3, fabric=fabric)
    assert found.artefact.tensors.keys() == packed.keys()
    assert all(torch.equal(found.artefact.tensors[name], packed[name]) for name in packed)
    assert same(found, swq.quantize(held(), calibration, SCHEME, settings, loss, seed=3, fabric=fabric))
    assert [len(steps) > 0 for steps in found.losses] == 2 * [loss is not None] and found.bits_per_weight > 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("method", ["rtn", "omniquant", "tesseraq"])
def test_a_model_in_half_precision_gets_the_codes_of_its_float32_copy(
    method: str, dtype: torch.dtype, fabric: Fabric, calibration: Tensor
) -> None:
    settings, loss = METHODS[method]
    half = held(dtype)
    full = held(dtype).float()
    assert same(*(swq.quantize(m, calibration, SCHEME, settings, loss, fabric=fabric) for m in (half, full)))


def test_the_callers_model_is_left_as_it_was(fabric: Fabric, calibration: Tensor) -> None:
    model = held(torch.bfloat16).train()
    model.get_input_embeddings().weight.requires_grad_(False)
    before = {name: (p, p.detach().clone(), p.requires_grad) for name, p in model.named_parameters()}
    swq.quantize(model, calibration, SCHEME, *METHODS["omniquant"], fabric=fabric)
    assert model.training and dict(model.named_parameters()).keys() == before.keys()
    for name, parameter in model.named_parameters():
        was, values, asked = before[name]
        assert parameter is was and torch.equal(parameter, values) and parameter.requires_grad == asked


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_can_be_held(family: str, fabric: Fabric) -> None:
    tokens = torch.randint(0, 96, (2, 16), generator=torch.Generator().manual_seed(0))
    model = tiny_lm(family)
    found = swq.quantize(model, tokens, SCHEME, *METHODS["omniquant"], fabric=fabric)
    found.apply(model)
    assert model(tokens).logits.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_apply_and_save_give_the_stored_weights(
    dtype: torch.dtype, fabric: Fabric, calibration: Tensor, tmp_path: Path
) -> None:
    found = swq.quantize(FOLDER, calibration, SCHEME, *METHODS["awq"], fabric=fabric)
    found.save(tmp_path / "quantized.safetensors")
    loaded, model = Artefact.load(tmp_path / "quantized.safetensors"), held(dtype)
    found.apply(model)
    for path in loaded.shapes:
        assert torch.equal(model.get_parameter(f"{path}.weight"), loaded.weight(path).dequantize().to(dtype))
    assert loaded.changed and loaded.model_sha256 == found.artefact.model_sha256 != ""


def test_a_call_that_is_made_again_continues(
    fabric: Fabric, calibration: Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, loss = METHODS["omniquant"]
    call = lambda tokens: swq.quantize(FOLDER, tokens, SCHEME, settings, loss, resume=tmp_path, fabric=fabric)  # noqa: E731
    first = call(calibration)
    assert "block was finished" not in capsys.readouterr().err
    (place,) = tmp_path.iterdir()
    written = {path: path.stat().st_mtime_ns for path in place.iterdir()}
    assert same(first, call(calibration)) and {p: p.stat().st_mtime_ns for p in place.iterdir()} == written
    assert "every block was finished\n" in capsys.readouterr().err
    call(calibration.flip(0))
    assert len(list(tmp_path.iterdir())) == 2, "other tokens are another reconstruction"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"scheme": "w2"}, "scheme 'w2' is not of the form"),
        ({"scheme": "w2a16g7"}, r"groups of 7 do not divide the 64 input channels of model.layers.0.self_attn.q_proj"),
        (
            {"tokens": torch.zeros(2, 8)},
            r"tokens must be whole numbers of shape \(samples, tokens\), not torch.float32",
        ),
        ({"tokens": torch.zeros(8, dtype=torch.int64)}, r"tokens must be whole numbers of shape"),
        ({"tokens": None}, "OmniQuant needs calibration tokens"),
        ({"loss": None}, "OmniQuant trains: it needs a loss"),
        ({"loss": {"swd": 1.0}}, "unknown loss term 'swd'; did you mean 'sw'"),
        ({"model": "nowhere"}, "nowhere"),
    ],
)
def test_mistakes_are_named(arguments: dict[str, Any], said: str, fabric: Fabric, calibration: Tensor) -> None:
    given = {"model": FOLDER, "tokens": calibration, "scheme": SCHEME, "loss": LOSS} | arguments
    with pytest.raises(UserError, match=said):
        swq.quantize(**given, method=swq.OmniQuant(epochs=1), fabric=fabric)


def test_a_model_in_memory_cannot_be_resumed(fabric: Fabric, calibration: Tensor, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="resume needs a model in a folder"):
        swq.quantize(held(), calibration, SCHEME, *METHODS["omniquant"], resume=tmp_path, fabric=fabric)


def test_importing_swq_loads_no_large_library() -> None:
    code = (
        "import sys, swq; swq.__version__; dir(swq); assert not {'torch', 'bench', 'lm_eval'} & set(sys.modules);"
        "swq.quantize; assert not {'bench', 'lm_eval'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    with pytest.raises(AttributeError, match="has no attribute 'quantise'"):
        swq.quantise  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize(
    ("method", "loss", "tokens", "said"),
    [
        ("apiq", None, None, r"method must be an object such as swq.OmniQuant\(\), not 'apiq'"),
        (swq.ApiQ(rank=4), None, TOKENS, r'ApiQ trains: it needs a loss, such as loss=\{"mse": 1.0\}'),
        (swq.GPTQ(), None, TOKENS + 96, "tokens must be from 0 to 95, as the model's are"),
    ],
)
def test_a_mistake_is_one_line_of_python(method: Any, loss: Any, tokens: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        swq.quantize(tiny_lm("llama"), tokens, "w3a16g32", method, loss)


def test_what_is_returned_is_short_to_look_at() -> None:
    assert len(repr(swq.quantize(tiny_lm("llama"), None, "w3a16g32", swq.RTN()))) < 500
