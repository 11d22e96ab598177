"""Named recipes in conf/preset: each is valid, each holds the published values, and a cell's own words go first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.config.cell import Cell
from bench.config.compose import composed
from swq.errors import UserError
from swq.losses import Loss
from swq.methods.apiq import ApiQ
from swq.methods.awq import AWQ
from swq.methods.gptq import GPTQ
from swq.methods.omniquant import OmniQuant
from swq.methods.tesseraq import TesseraQ
from tests.support.repository import ROOT

PRESETS = sorted(path.stem for path in (ROOT / "conf/preset").glob("*.yaml"))


def cell_of(preset: str) -> Cell:
    values = yaml.safe_load((ROOT / f"conf/preset/{preset}.yaml").read_text())
    return Cell.model_validate({"model": "m", "calibration": "c", "scheme": "w2a16g64", "preset": preset} | values)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_valid(preset: str) -> None:
    assert (cell_of(preset).loss is not None) == cell_of(preset).method.trains
    assert preset.startswith(cell_of(preset).method_name)


@pytest.mark.parametrize(
    ("preset", "loss"),
    [
        ("omniquant-official", Loss({"mse": 1.0})),
        ("omniquant-fork", Loss({"mse": 1.0})),
        ("omniquant-fork-sw", Loss({"mse": 0.9, "sw": 0.1}, 128)),
        ("omniquant-fork-sw-first", Loss({"mse": 1.0, "sw": 0.1}, 16)),
        ("tesseraq-official", Loss({"l2": 1.0})),
        ("tesseraq-fork-sw", Loss({"l2": 0.9, "sw": 0.1}, 128)),
        ("tesseraq-fork-sw-first", Loss({"l2": 1.0, "sw": 0.1}, 16)),
        ("omniquant-fork-scaled", Loss({"mse": 0.9})),
        ("omniquant-fork-mismatched", Loss({"mse": 0.9, "sw_mismatched": 0.1}, 128)),
        ("tesseraq-fork-scaled", Loss({"l2": 0.9})),
        ("tesseraq-fork-mismatched", Loss({"l2": 0.9, "sw_mismatched": 0.1}, 128)),
    ],
)
def test_losses_are_the_published_ones(preset: str, loss: Loss) -> None:
    assert cell_of(preset).loss == loss


def test_schedules_are_the_published_ones() -> None:
    assert cell_of("omniquant-fork").method == OmniQuant(20, 0.01, 0.0, aug_loss=False)
    assert cell_of("omniquant-official-2bit").method == OmniQuant(40, 0.01, 0.0, aug_loss=True)
    assert cell_of("tesseraq-fork").method == TesseraQ()
    official: Any = cell_of("tesseraq-official").method
    assert len(official.thresholds) == 20 and official.thresholds[0] == 0.8 and official.start == AWQ()
    assert (official.iterations, official.batch_size, official.lr, official.scale_lr) == (250, 4, 1e-3, 1e-3)
    assert cell_of("tesseraq-official-w2a16").method.start == OmniQuant(40, 0.01, 0.0, aug_loss=True)
    assert cell_of("gptq-official").method == GPTQ(0.01, act_order=False, true_sequential=False)
    assert cell_of("gptq-official-llama").method == GPTQ(0.01, act_order=True, true_sequential=True)
    apiq = cell_of("apiq-official")
    assert isinstance(apiq.method, ApiQ)
    assert apiq.method == ApiQ(64, 20, 5e-3, 0.1, 5e-4, 0.1, aug_loss=True) and not apiq.method.gradient_samples
    assert cell_of("apiq-fork-sw").method == apiq.method
    salient = replace(apiq.method, saliency_weight=1e-3)
    assert cell_of("apiq-saliency").method == cell_of("apiq-saliency-sw").method == salient
    precisions = {name: cell_of(name).precision for name in PRESETS}
    assert {name for name, precision in precisions.items() if precision == "32-true"} == {
        "omniquant-fork",
        "omniquant-fork-sw",
        "omniquant-fork-sw-first",
        "omniquant-fork-scaled",
        "omniquant-fork-mismatched",
        "omniquant-fork-opt",
        "omniquant-fork-opt-sw",
    }
    for name, epochs, shift in (("official-opt", 20, False), ("official-opt-2bit", 40, False), ("fork-opt", 20, True)):
        assert cell_of(f"omniquant-{name}").method == OmniQuant(
            epochs, 0.01, 0.0, let=True, let_lr=5e-3, let_shift=shift
        )


@pytest.mark.parametrize("method", ["omniquant", "tesseraq"])
def test_a_placebo_differs_from_its_arms_in_the_loss_only(method: str) -> None:
    arms = [cell_of(f"{method}-fork{arm}") for arm in ("", "-sw", "-scaled", "-mismatched")]
    assert len({repr((arm.method, arm.precision, arm.seed)) for arm in arms}) == 1
    assert len({repr(arm.loss) for arm in arms}) == 4


def write_suite(folder: Path, cell: dict[str, Any], preset: Any) -> None:
    for name in ("suite", "preset"):
        (folder / "conf" / name).mkdir(parents=True)
    (folder / "conf/config.yaml").write_text("defaults: [{suite: s}, _self_]\n")
    (folder / "conf/suite/s.yaml").write_text("# @package _global_\n" + yaml.safe_dump({"cells": {"c": cell}}))
    (folder / "conf/preset/p.yaml").write_text(yaml.safe_dump(preset))


PRESET = {"method": {"name": "omniquant", "epochs": 20, "lwc_lr": 0.01}, "loss": {"weights": {"mse": 1.0}}, "seed": 2}


@pytest.mark.parametrize(
    ("own", "wanted"),
    [
        ({}, PRESET),
        ({"method": {"epochs": 5}}, PRESET | {"method": {"name": "omniquant", "epochs": 5, "lwc_lr": 0.01}}),
        ({"method": {"name": "awq"}, "loss": None}, PRESET | {"method": {"name": "awq"}, "loss": None}),
        ({"loss": {"weights": {"sw": 1.0}}, "seed": 3}, PRESET | {"loss": {"weights": {"sw": 1.0}}, "seed": 3}),
        ({"loss": {"n_projections": 16}}, PRESET | {"loss": {"weights": {"mse": 1.0}, "n_projections": 16}}),
    ],
)
def test_what_a_cell_says_goes_before_its_preset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: dict[str, Any], wanted: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_suite(tmp_path, {"preset": "p"} | own, PRESET)
    assert yaml.safe_load(composed("s"))["cells"]["c"] == {"preset": "p"} | wanted


@pytest.mark.parametrize(
    ("named", "preset", "message"),
    [
        ("q", PRESET, "cells.c: unknown preset 'q'"),
        ("p", {"loss": None}, "p.yaml needs a method, a mapping with a name"),
        ("p", ["method"], "p.yaml needs a method, a mapping with a name"),
        (["p"], PRESET, "cells.c: unknown preset"),
    ],
)
def test_wrong_preset_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: Any, preset: Any, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_suite(tmp_path, {"preset": named}, preset)
    with pytest.raises(UserError, match=message):
        composed("s")
