"""Exported folders open with plain transformers, in a process that cannot import this project."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric import Fabric
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

import swq
from swq.errors import UserError
from tests.support.families import FAMILIES, tiny_lm
from tests.support.repository import REFERENCE

FOLDER = REFERENCE / "models" / "tiny-llama"
METHODS: dict[str, tuple[Any, dict[str, float] | None]] = {
    "rtn": (swq.RTN(), None),
    "awq": (swq.AWQ(), None),
    "gptq": (swq.GPTQ(), None),
    "omniquant": (swq.OmniQuant(epochs=1), {"mse": 0.9, "sw": 0.1}),
    "tesseraq": (swq.TesseraQ((0.5,), iterations=2), {"l2": 0.9, "sw": 0.1}),
}
ELSEWHERE = """
import sys
sys.modules["swq"] = sys.modules["bench"] = None  # an import of them fails
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
given, logits = load_file(sys.argv[1]), {}
for name, tokens in given.items():
    model = AutoModelForCausalLM.from_pretrained(name)
    with torch.no_grad():
        logits[name] = model(tokens).logits.float()
save_file(logits, sys.argv[2])
"""


def tokens(n: int = 2) -> Tensor:
    return torch.randint(0, 96, (n, 16), generator=torch.Generator().manual_seed(0))


def logits(model: PreTrainedModel) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(tokens()).logits
    return found


def test_every_method_and_family_opens_elsewhere(fabric: Fabric, tmp_path: Path) -> None:
    """All in one other process, because it takes seconds to start."""
    wanted: dict[str, Tensor] = {}
    for family in FAMILIES:
        for method, (settings, loss) in METHODS.items():
            if settings.needs_pairs and family == "opt-post-norm":
                continue  # its norms pass no scale on
            model = tiny_lm(family)
            found = swq.quantize(model, tokens(), "w3a16g32", settings, loss, scale_dtype="float32", fabric=fabric)
            name = str(tmp_path / f"{family}-{method}")
            found.export(name, model)
            before = logits(model)
            found.apply(model)
            wanted[name] = logits(model)
            assert not torch.equal(before, wanted[name]), "export left the model as it was, and codes change it"
    from safetensors.torch import save_file

    given, found_file = tmp_path / "tokens.safetensors", tmp_path / "logits.safetensors"
    save_file({name: tokens() for name in wanted}, given)
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(given), str(found_file)], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    opened = load_file(found_file)
    assert len(opened) == len(wanted) > 24
    for name, expected in wanted.items():
        torch.testing.assert_close(opened[name], expected, rtol=0, atol=1e-4)


def test_a_folder_is_exported_with_its_tokenizer_and_a_card(
    fabric: Fabric, tmp_path: Path, calibration: Tensor
) -> None:
    source = tmp_path / "tiny"
    AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.bfloat16).save_pretrained(source)
    (source / "tokenizer.json").write_text("{}")
    found = swq.quantize(source, calibration, "w2a16g32", *METHODS["omniquant"], seed=5, fabric=fabric)
    found.export(tmp_path / "out")
    assert (tmp_path / "out/tokenizer.json").read_text() == "{}"
    assert json.loads((tmp_path / "out/config.json").read_text())["dtype"] == "bfloat16"
    card = (tmp_path / "out/README.md").read_text()
    for part in (
        "# tiny, quantized to w2a16g32",
        "| loss | 0.9 mse, 0.1 sw |",
        "| seed | 5 |",
        "8 samples of 32 tokens",
    ):
        assert part in card
    assert f"{found.bits_per_weight:.3f} where codes" in card and "dequantized weights in bfloat16" in card
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    for path in found.artefact.shapes:
        stored = found.artefact.weight(path).dequantize().bfloat16()
        assert torch.equal(opened.get_parameter(f"{path}.weight").bfloat16(), stored)


def test_nothing_is_overwritten(fabric: Fabric, tmp_path: Path, calibration: Tensor) -> None:
    found = swq.quantize(FOLDER, None, "w3a16g32", swq.RTN(), fabric=fabric)
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(UserError, match=r"is there already and not empty; nothing in it was changed"):
        found.export(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_model_in_memory_must_be_given(fabric: Fabric, tmp_path: Path) -> None:
    found = swq.quantize(tiny_lm("llama"), None, "w3a16g32", swq.RTN(), fabric=fabric)
    with pytest.raises(UserError, match=r"export: the model was in memory; give it as `model`"):
        found.export(tmp_path / "out")
