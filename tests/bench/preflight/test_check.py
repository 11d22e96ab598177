"""check: what it says about a machine before anything runs there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from bench.config.params import Params
from bench.config.strict import parse_section
from bench.preflight.bfloat16 import missing_instructions
from bench.preflight.check import check
from swq.errors import UserError
from tests.support.families import tiny_lm
from tests.support.repository import ROOT

OLD = {"avx2": True, "avx512_bf16": False, "amx_bf16": False, "architecture": "x86_64"}
CELLS: dict[str, Any] = {
    "plain": {"method": {"name": "rtn"}, "scheme": "w3a16g64"},
    "single": {"method": {"name": "omniquant"}, "scheme": "w3a16g64", "loss": {"weights": {"mse": 1.0}}},
}
CELLS["brain"] = CELLS["single"] | {"precision": "bf16-mixed"}


@pytest.mark.parametrize(
    ("capabilities", "missing"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, []),
        ({"avx512_bf16": False, "amx_bf16": True}, []),
        (OLD, ["avx512_bf16", "amx_bf16"]),
        ({"neon": True, "bf16": True, "sve_bf16": False}, []),
        ({"neon": True, "bf16": False, "sve_bf16": False}, ["bf16", "sve_bf16"]),
        ({"architecture": "ppc64le"}, []),
    ],
)
def test_one_kind_of_instruction_is_enough(capabilities: dict[str, bool | int | str], missing: list[str]) -> None:
    assert missing_instructions(capabilities) == missing


def test_torch_names_the_instructions_of_this_machine() -> None:
    """A name that torch spells differently would read as missing everywhere."""
    expected = {"x86_64": {"avx512_bf16", "amx_bf16"}, "AMD64": {"avx512_bf16", "amx_bf16"}}
    capabilities = torch.cpu.get_capabilities()
    assert expected.get(str(capabilities["architecture"]), {"bf16"}) <= capabilities.keys()


def params_of(*cells: str, device: str = "cpu", **changes: Any) -> Params:
    """Return a suite of these cells; its model is not there yet. `changes` replaces whole sections."""
    return parse_section(Params, text_of(*cells, device=device, **changes), "params.yaml")


def text_of(*cells: str, device: str = "cpu", **changes: Any) -> str:
    """Return the same as params.yaml has it."""
    common = {"model": "m", "calibration": "c"}
    text = {
        "suite": "slow",
        "runtime": {"device": device, "threads": 2},
        "models": {"m": {"source": "package", "package": "m==1", "sha256": 64 * "0", "file": "m.gguf"}},
        "corpora": {"texts": {"source": "folder", "path": "nowhere"}},
        "calibrations": {"c": {"model": "m", "corpus": "texts", "n_samples": 8, "seq_len": 64, "seed": 2}},
        "protocol": {
            "corpus": "texts",
            "tasks": ["piqa"],
            "batch_tokens": 2048,
            "add_bos_token": False,
            "perplexity": {"seq_len": 64, "texts": {"perplexity": {}}},
        },
        "cells": {key: common | CELLS[key] for key in cells},
    }
    return yaml.safe_dump(text | changes)


@pytest.fixture
def old_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose CPU has no instructions for bfloat16, and a folder without conf/."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: OLD)


@pytest.mark.usefixtures("old_cpu")
def test_check_says_which_cells_are_emulated_and_what_to_write() -> None:
    said = check(params_of("plain", "single", "brain"))
    (note,) = (line for line in said.splitlines() if "bf16-mixed" in line)
    assert note == (
        "note: precision bf16-mixed is emulated on this CPU, which has no avx512_bf16 or amx_bf16: results are right,"
        " but training is slower than in float32 (precision: 32-true), up to many times: brain"
    )


@pytest.mark.usefixtures("old_cpu")
@pytest.mark.parametrize(("cells", "device"), [(("plain", "single"), "cpu"), (("brain",), "gpu")])
def test_check_says_nothing_of_it_elsewhere(cells: tuple[str, ...], device: str) -> None:
    assert "bf16-mixed" not in check(params_of(*cells, device=device))


@pytest.mark.usefixtures("old_cpu")
def test_check_says_it_only_of_cells_that_will_run() -> None:
    assert "bf16-mixed" not in check(params_of("single", "brain"), keys=["single"])


@pytest.mark.usefixtures("old_cpu")
def test_the_cpu_is_not_asked_without_such_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """The question needs torch, which takes seconds to import."""
    monkeypatch.delitem(sys.modules, "bench.preflight.bfloat16")
    check(params_of("plain", "single"))
    assert "bench.preflight.bfloat16" not in sys.modules


def test_a_cpu_with_the_instructions_is_not_mentioned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: OLD | {"avx512_bf16": True})
    assert "bf16-mixed" not in check(params_of("brain"))


@pytest.mark.usefixtures("old_cpu")
def test_check_says_where_only_calibration_has_start_tokens() -> None:
    sampled = {"model": "m", "corpus": "texts", "n_samples": 8, "seq_len": 64, "seed": 2}
    notes = check(params_of("single", calibrations={"c": sampled | {"start_token": True}})).splitlines()
    assert "note: windows begin with a start token in calibration c, but not in perplexity (start_token)" in notes
    assert "start token" not in check(params_of("single", calibrations={"c": sampled}))


def test_a_start_block_beyond_the_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every block would be trained without SW, and the cell would still be called SW."""
    monkeypatch.chdir(tmp_path)
    model = tiny_lm("llama")
    model.save_pretrained("model")
    n_blocks = model.config.num_hidden_layers

    def starting(block: int) -> Params:
        loss = {"weights": {"mse": 0.9, "sw": 0.1}, "sw_start_block": block}
        cells = {"late": {"model": "m", "calibration": "c"} | CELLS["single"] | {"scheme": "w3a16", "loss": loss}}
        return params_of(models={"m": {"source": "folder", "path": "model"}}, cells=cells)

    check(starting(n_blocks - 1))
    with pytest.raises(UserError, match=rf"cells.late: sw_start_block {n_blocks} leaves no block of model m for SW"):
        check(starting(n_blocks))


@pytest.mark.parametrize(
    ("family", "more", "message"),
    [
        ("llama", {}, None),
        ("opt", {}, None),
        ("mistral", {}, "bias_compensation shifts biases, and no .* of a mistral model has or may get one"),
        ("llama", {"method": {"name": "apiq", "rank": 64}, "loss": {"weights": {"mse": 1.0}}}, None),
        (
            "llama",
            {"method": {"name": "apiq", "rank": 65}, "loss": {"weights": {"mse": 1.0}}},
            "apiq: rank 65 is too large: self_attn.q_proj is 64 x 64, which takes at most 64",
        ),
    ],
)
def test_what_no_linear_of_the_model_can_take_is_refused(
    family: str, more: dict[str, Any], message: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the files of a model that holds weights, and by the model that is built from a configuration alone."""
    monkeypatch.chdir(tmp_path)
    model = tiny_lm(family)
    model.save_pretrained("whole")
    model.config.save_pretrained("bare")
    cell = {"model": "m", "calibration": "c", "method": {"name": "rtn"}, "bias_compensation": not more} | more
    for path in ("whole", "bare"):
        params = params_of(
            models={"m": {"source": "folder", "path": path}}, cells={"asked": cell | {"scheme": "w3a16g32"}}
        )
        if message is None:
            check(params)
        else:
            with pytest.raises(UserError, match=rf"^cells.asked: model m: {message}$"):
                check(params)


@pytest.mark.parametrize(("command", "name"), [("check", "mixtral"), ("run", "olmoe")])
def test_a_model_with_experts_is_refused(command: str, name: str, tmp_path: Path) -> None:
    """In one line and before anything is fetched."""
    tiny_lm(name).save_pretrained(tmp_path / "model")
    text = text_of("plain", models={"m": {"source": "folder", "path": "model"}})
    (tmp_path / "params.yaml").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "bench", command],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        f"error: model_type '{name}' has experts (model.layers.0.mlp.experts), and models with experts"
    )
    assert not (tmp_path / "data").exists()
