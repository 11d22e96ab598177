"""`swq quantize`, given a cell's recipe and the pipeline's tokens, stores the cell's own bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench.stages.reconstruct import reconstruct
from bench.store.paths import QUANTIZED, artefact_folder, calibration_file
from swq.checkpoint import Artefact
from tests.support.console import swq
from tests.support.prepared import prepared

KEY = "tiny-tesseraq-sw"


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
