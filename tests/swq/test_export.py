"""What an exported folder holds, and what an export refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor
from transformers import AutoModelForCausalLM

import swq
from swq.errors import UserError
from tests.support.families import tiny_lm
from tests.support.repository import REFERENCE

FOLDER = REFERENCE / "models" / "tiny-llama"
OMNIQUANT: tuple[Any, dict[str, float]] = (swq.OmniQuant(epochs=1), {"mse": 0.9, "sw": 0.1})


def test_a_folder_is_exported_with_its_tokenizer_and_a_card(
    fabric: Fabric, tmp_path: Path, calibration: Tensor
) -> None:
    source = tmp_path / "tiny"
    AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.bfloat16).save_pretrained(source)
    (source / "tokenizer.json").write_text("{}")
    found = swq.quantize(source, calibration, "w2a16g32", *OMNIQUANT, seed=5, fabric=fabric)
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


@pytest.mark.parametrize(
    ("dtype", "most"), [(torch.float32, 0.0), (torch.float16, 2.0**-11), (torch.bfloat16, 2.0**-8)]
)
def test_the_card_says_what_the_dtype_rounds_away(
    fabric: Fabric, tmp_path: Path, calibration: Tensor, dtype: torch.dtype, most: float
) -> None:
    """Of the folder as another process would read it."""
    found = swq.quantize(FOLDER, calibration, "w3a16g32", swq.AWQ(), fabric=fabric)
    found.export(tmp_path / "out", dtype=dtype)
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    differences = []
    for path in found.artefact.shapes:
        exact = found.artefact.weight(path).dequantize()
        off = opened.get_parameter(f"{path}.weight").detach().float() - exact
        differences.append(float(off.norm() / exact.norm()))
    (row,) = [line for line in (tmp_path / "out/README.md").read_text().splitlines() if line.startswith("| rounding")]
    assert max(differences) <= most
    assert (f"at most {max(differences):.1e} of" if most else "none: weights are exactly") in row
