"""`swq quantize`, given a cell's recipe and the pipeline's tokens, stores the cell's own bytes."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest
import torch

from bench.config.params import load_params
from bench.inputs.models import ModelRecord
from bench.stages.reconstruct import reconstruct
from bench.store.paths import QUANTIZED, RECORD, artefact_folder, calibration_file
from swq.checkpoint import Artefact
from swq.repeat import quantize_command
from tests.support.console import swq, swq_apart
from tests.support.prepared import prepared

KEY, BUNDLED = "tiny-tesseraq-sw", "bundled-tesseraq"
FINISHED = os.environ.get("SWQ_BUNDLED")  # a folder where `make repro` has finished


def test_codes_are_the_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = prepared(tmp_path, monkeypatch)
    reconstruct(params, KEY)
    cell = Artefact.load(artefact_folder(KEY) / QUANTIZED)
    settings = ["thresholds=[0.5, 0.1]", "iterations=3", "lr=0.01", "start=awq"]
    settings += ["loss.n_projections=16", "loss.normalised=true"]
    recipe = ["--scheme", "w3a16g32", "--method", "tesseraq", "--loss", "l2=0.9,sw=0.1", "--seed", "2"]
    recipe += [part for setting in settings for part in ("--set", setting)]
    tokens = calibration_file(params.cells[KEY].calibration)
    assert swq("quantize", "inputs/model", "--calibration", tokens, *recipe, "--threads", "1", "--out", "out") == 0
    ours = Artefact.load(Path("out") / "quantized.safetensors")
    for stored, wanted in ((ours.tensors, cell.tensors), (ours.changed, cell.changed)):
        assert stored.keys() == wanted.keys() and wanted
        assert all(torch.equal(stored[name], wanted[name]) for name in wanted)

    other = [*recipe[:-1], "loss.normalised=false"]
    assert swq("quantize", "inputs/model", "--calibration", tokens, *other, "--threads", "1", "--out", "other") == 0
    changed = Artefact.load(Path("other") / "quantized.safetensors").tensors
    assert any(not torch.equal(changed[name], cell.tensors[name]) for name in cell.tensors), "a setting matters"


@pytest.mark.skipif(FINISHED is None, reason="four minutes: SWQ_BUNDLED names a folder where `make repro` has finished")
def test_codes_are_those_of_the_bundled_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same on SmolLM2-135M-Instruct, by the command that a model card would state."""
    assert FINISHED is not None
    monkeypatch.chdir(FINISHED)
    params = load_params()
    record = artefact_folder(BUNDLED) / RECORD
    if BUNDLED not in params.cells or not record.is_file():
        pytest.skip(f"`make repro` has not finished in {FINISHED}: there is no {record}")
    cell, made = params.cells[BUNDLED], json.loads(record.read_text())
    if made["identity"] != params.identity(BUNDLED):
        pytest.skip(f"{record} was made with other settings than params.yaml has: run `make repro` again")
    places = {
        "FOLDER": ModelRecord.load(cell.model).folder.resolve(),
        "TEXT": calibration_file(cell.calibration).resolve(),
        "quantized": tmp_path / "quantized",
    }
    program, *words = shlex.split(quantize_command(cell.recipe, cell.precision))
    done = swq_apart([*(places.get(word, word) for word in words), "--threads", str(made["provenance"]["threads"])])
    assert program == "swq" and done.returncode == 0, done.stderr
    ours = Artefact.load(tmp_path / "quantized" / QUANTIZED)
    wanted = Artefact.load(artefact_folder(BUNDLED) / QUANTIZED)
    assert ours.tensors.keys() == wanted.tensors.keys() and len(wanted.tensors) == 3 * 210
    assert all(torch.equal(ours.tensors[name], wanted.tensors[name]) for name in wanted.tensors)
