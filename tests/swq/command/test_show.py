"""`swq export` and `swq inspect` read what `swq quantize` wrote."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from swq.checkpoint import Artefact
from swq.command.show import by_number
from tests.support.console import swq
from tests.support.repository import REFERENCE

FOLDER = REFERENCE / "models" / "tiny-llama"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, calibration: Tensor) -> Path:
    """A folder with two quantized models, `omniquant` and `awq`, and with the model itself."""
    folder = tmp_path_factory.mktemp("made")
    shutil.copytree(FOLDER, folder / "model")
    save_file({"tokens": calibration}, folder / "tokens.safetensors")
    given = ("--scheme", "w3a16g32", "--calibration", folder / "tokens.safetensors")
    for method, more in (("omniquant", ("--set", "epochs=1")), ("awq", ())):
        done = swq("quantize", folder / "model", *given, "--method", method, *more, "--out", folder / method)
        assert done == 0
    return folder


def test_export_opens_with_transformers(made: Path, tmp_path: Path) -> None:
    assert swq("export", made / "omniquant", "--out", tmp_path / "out", "--dtype", "bfloat16") == 0
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    artefact = Artefact.load(made / "omniquant/quantized.safetensors")
    for path in artefact.shapes:
        assert torch.equal(opened.get_parameter(f"{path}.weight"), artefact.weight(path).dequantize().bfloat16())


def test_a_packed_export_holds_the_codes(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert swq("export", made / "awq", "--packed", "--out", tmp_path / "out") == 0
    assert "where compressed-tensors is installed" in capsys.readouterr().out
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    artefact = Artefact.load(made / "awq/quantized.safetensors")
    for path in artefact.shapes:
        assert torch.equal(opened.get_parameter(f"{path}.weight"), artefact.weight(path).dequantize())
    for path, tensor in artefact.changed.items():
        assert torch.equal(opened.get_parameter(path), tensor)


def test_inspect_shows_bits_and_errors(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert swq("inspect", made / "omniquant") == 0
    page = capsys.readouterr().out
    artefact = Artefact.load(made / "omniquant/quantized.safetensors")
    model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32)
    for path, shape in artefact.shapes.items():
        own = model.get_parameter(f"{path}.weight").detach()
        error = 100 * float((artefact.weight(path).dequantize() - own).norm() / own.norm())
        (row,) = (line.split() for line in page.splitlines() if line.startswith(f"{path} "))
        assert row[1:4] == [str(shape[0]), "x", str(shape[1])] and row[5] == f"{row[5]:.5}"
        assert float(row[6]) == pytest.approx(error, abs=0.006) and error > 1
    assert f"{artefact.bits_per_weight():.3f}, with scales and zero points" in page
    assert "loss, last epoch" in page and "8 samples of 32 tokens" in page


def behind_blocks(model: PreTrainedModel, tokens: Tensor) -> list[Tensor]:
    seen: list[Tensor] = []
    hooks = [block.register_forward_hook(lambda _, __, output: seen.append(output)) for block in model.model.layers]
    with torch.no_grad():
        model(tokens)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("method", ["omniquant", "awq"])
def test_inspect_measures_outputs(method: str, made: Path, calibration: Tensor, capsys: Any) -> None:
    """They are those of plain transformers."""
    given = ("--calibration", made / "tokens.safetensors", "--device", "cpu")
    assert swq("inspect", made / method, *given) == 0
    *_, before, last = (line.split() for line in capsys.readouterr().out.splitlines())
    model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32)
    artefact = Artefact.load(made / method / "quantized.safetensors")
    states = [behind_blocks(model, calibration)]
    artefact.apply(model, artefact.model_sha256)
    states.append(behind_blocks(model, calibration))
    for row, own, quantized in zip((before, last), *states, strict=True):
        assert float(row[-1]) == pytest.approx(100 * float((quantized - own).norm() / own.norm()), rel=2e-3)
    assert [before[0], last[0]] == ["0", "1"] and float(last[-1]) > 1


def test_layers_are_listed_by_number() -> None:
    listed = [f"model.layers.{n}.mlp.{name}" for n in (0, 2, 9, 10, 100) for name in ("down_proj", "up_proj")]
    assert sorted(reversed(listed), key=by_number) == listed


def test_inspect_says_why_there_are_no_errors(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert swq("inspect", made / "awq") == 0
    page = capsys.readouterr().out
    assert "AWQ moves scales between layers" in page and " n/a" in page and "last epoch" not in page
    assert swq("inspect", made / "omniquant", "--model", made / "gone") == 0
    assert "gone, which is not there: say by --model where it is" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["export", "inspect"])
def test_a_folder_of_another_kind_is_named(command: str, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out") if command == "export" else ()
    assert "is no folder that `swq quantize` wrote" in str(swq(command, FOLDER, *out))
    for content in ("{", "[]", '{"format": "swq-quantized", "version": 1}'):
        (tmp_path / "recipe.json").write_text(content)
        assert "recipe.json is damaged" in str(swq(command, tmp_path, *out))
    (tmp_path / "recipe.json").write_text('{"format": "swq-quantized", "version": 9}')
    assert "is of version 9; this code reads version 1" in str(swq(command, tmp_path, *out))


def test_export_refuses_another_model_and_a_taken_folder(made: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(FOLDER, other)
    weights = next(other.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    said = str(swq("export", made / "awq", "--out", tmp_path / "out", "--model", other))
    assert "is not, or no longer, the model that" in said and not (tmp_path / "out").exists()
    assert "is there already and not empty" in str(swq("export", made / "awq", "--out", other))
    said = str(swq("export", made / "awq", "--out", tmp_path / "out", "--dtype", "int8"))
    assert "unknown --dtype 'int8' (allowed: bfloat16, float16, float32)" in said
