"""estimate: its arithmetic against published times, and against itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import LlamaConfig

from bench.config.params import Params
from bench.config.strict import parse_section
from bench.preflight.at_hand import shapes_of
from bench.preflight.bytes import artefact_bytes, host_bytes
from bench.preflight.cost import Cost, cost, task_tokens
from bench.preflight.estimate import estimate
from bench.preflight.seconds import Rates, training_seconds
from bench.preflight.shapes import Shapes
from bench.preflight.workload import Work, work_of
from swq.errors import UserError

SIZES = {"7b": (4096, 11008, 32), "13b": (5120, 13824, 40)}
OMNIQUANT: dict[str, Any] = {
    "method": {"name": "omniquant", "epochs": 20},
    "loss": {"weights": {"mse": 1.0}},
    "precision": "16-mixed",
}
SW = {"weights": {"mse": 0.9, "sw": 0.1}, "n_projections": 128}
TESSERAQ = {"method": {"name": "tesseraq"}, "loss": {"weights": {"l2": 1.0}}, "precision": "16-mixed"}
AWQ = {"method": {"name": "awq"}}
CELLS: dict[str, dict[str, Any]] = {
    "omniquant": OMNIQUANT,
    "fp32": OMNIQUANT | {"precision": "32-true"},
    "sw": OMNIQUANT | {"loss": SW},
    "aug": OMNIQUANT | {"method": {"name": "omniquant", "epochs": 20, "aug_loss": True}},
    "tesseraq": TESSERAQ,
    "awq": AWQ,
    "rtn": {"method": {"name": "rtn"}},
    "gptq": {"method": {"name": "gptq"}, "precision": "16-mixed"},
    "gptq-at-once": {"method": {"name": "gptq", "true_sequential": False}, "precision": "16-mixed"},
}


def write_config(folder: Path, size: str) -> Path:
    """Write the configuration of a LLaMA-2 and nothing else: shapes need no weights."""
    hidden, ffn, blocks = SIZES[size]
    config = LlamaConfig(
        vocab_size=32000,
        hidden_size=hidden,
        intermediate_size=ffn,
        num_hidden_layers=blocks,
        num_attention_heads=hidden // 128,
        max_position_embeddings=4096,
        architectures=["LlamaForCausalLM"],
    )
    config.save_pretrained(folder)
    return folder


def params_of(sources: dict[str, dict[str, Any]], schemes: tuple[str, ...] = ("w3a16g128",)) -> Params:
    """Return a suite with every kind of cell for each model and scheme, and full precision."""
    cells: dict[str, Any] = {}
    for model in sources:
        common = {"model": model, "calibration": model}
        cells[f"{model}-fp"] = common | {"method": {"name": "fp"}}
        for scheme in schemes:
            cells |= {f"{model}-{name}-{scheme}": common | {"scheme": scheme} | cell for name, cell in CELLS.items()}
    text = {
        "suite": "costs",
        "runtime": {"device": "auto", "threads": 2},
        "models": sources,
        "corpora": {"texts": {"source": "folder", "path": "nowhere"}},
        "calibrations": {
            model: {"model": model, "corpus": "texts", "n_samples": 128, "seq_len": 2048, "seed": 2}
            for model in sources
        },
        "protocol": {
            "corpus": "texts",
            "tasks": ["winogrande", "piqa"],
            "batch_tokens": 2048,
            "add_bos_token": False,
            "dtype": "float16",
            "perplexity": {"seq_len": 2048, "texts": {"perplexity": {}}},
        },
        "cells": cells,
    }
    return parse_section(Params, yaml.safe_dump(text), "params.yaml")


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> Params:
    folder = tmp_path_factory.mktemp("models")
    return params_of({size: {"source": "folder", "path": str(write_config(folder / size, size))} for size in SIZES})


@pytest.fixture(scope="module")
def shapes(params: Params) -> Shapes:
    return shapes_of(params, "7b")


def work(params: Params, key: str) -> Work:
    cell = params.cells[key]
    return work_of(cell, params.calibrations[cell.calibration])


def costs(params: Params, shapes: Shapes, name: str) -> Cost:
    return cost(params, params.cells[f"7b-{name}-w3a16g128"], shapes, Rates())


@pytest.mark.parametrize(("size", "published"), [("7b", 1.1), ("13b", 2.2)])
def test_omniquant_takes_about_as_long_as_its_authors_say(params: Params, size: str, published: float) -> None:
    """Table A12 of its paper: weights only, 128 x 2048 tokens, 20 epochs, one A100-80G."""
    one = cost(params, params.cells[f"{size}-omniquant-w3a16g128"], shapes_of(params, size), Rates())
    assert published / 2 < one.reconstruct / 3600 < published * 2


def test_shapes_are_those_of_the_model(shapes: Shapes) -> None:
    assert shapes.parameters == 6_738_415_616  # LLaMA-2-7B
    assert shapes.quantized == 4 * 4096**2 + 3 * 4096 * 11008
    assert sum(linear.clipped for linear in shapes.linears) == 5  # all but queries and keys
    assert all(linear.scaled for linear in shapes.linears)


def test_training_grows_with_samples_and_falls_with_rates(params: Params, shapes: Shapes) -> None:
    cell, calibration = params.cells["7b-omniquant-w3a16g128"], params.calibrations["7b"]
    once = training_seconds(shapes, work_of(cell, calibration), Rates())
    more = calibration.model_copy(update={"n_samples": 256})
    assert training_seconds(shapes, work_of(cell, more), Rates()) == pytest.approx(2 * once)
    faster = Rates(half=200e12, memory=2.4e12, transfer=20e9)
    assert training_seconds(shapes, work_of(cell, calibration), faster) == pytest.approx(once / 2)


def test_tesseraq_takes_as_many_steps_whatever_the_samples(params: Params) -> None:
    (phase,) = work(params, "7b-tesseraq-w3a16g128").phases
    assert (phase.steps, phase.samples) == (10 * 250, 2)


def test_what_asks_for_more_costs_more(params: Params, shapes: Shapes) -> None:
    base = costs(params, shapes, "omniquant")
    for dearer in ("fp32", "sw", "aug"):
        assert costs(params, shapes, dearer).reconstruct > base.reconstruct
    assert costs(params, shapes, "sw").reconstruct < 1.5 * base.reconstruct
    assert costs(params, shapes, "rtn").reconstruct < costs(params, shapes, "awq").reconstruct < base.reconstruct
    at_once, in_turn = costs(params, shapes, "gptq-at-once"), costs(params, shapes, "gptq")
    assert costs(params, shapes, "rtn").reconstruct < at_once.reconstruct < in_turn.reconstruct < base.reconstruct
    assert costs(params, shapes, "rtn").reconstruct_device < in_turn.reconstruct_device < at_once.reconstruct_device
    assert costs(params, shapes, "tesseraq").reconstruct_device > base.reconstruct_device
    assert costs(params, shapes, "rtn").host < base.host


def test_memory_and_disk_follow_from_samples_and_bits(params: Params, shapes: Shapes) -> None:
    one = work(params, "7b-rtn-w3a16g128")
    weights = shapes.blocks * shapes.quantized
    assert artefact_bytes(shapes, one) == weights * (3 + (16 + 3) / 128) / 8
    trained = work(params, "7b-omniquant-w3a16g128")
    held = host_bytes(shapes, replace(trained, samples=256)) - host_bytes(shapes, trained)
    assert held == 3 * 128 * 2048 * 4096 * 4


def test_the_limit_cuts_the_tasks(params: Params) -> None:
    whole = params.protocol
    assert task_tokens(whole) == (1267 + 1838) * (30 + 2 * 10)
    assert task_tokens(whole.model_copy(update={"limit": 50})) == (50 + 50) * (30 + 2 * 10)


def rows_of(page: str) -> list[list[str]]:
    """Return the cells of the page's first table, without its head."""
    lines = [line for line in page.split("\n\n")[3].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_totals_are_sums_and_peaks_of_the_rows(params: Params) -> None:
    keys = [key for key in params.cells if key.startswith("7b")]
    *rows, total = rows_of(estimate(params, keys))
    assert len(rows) == len(keys) == int(total[3])
    assert total[0] == "total"
    for column, digit in ((4, 0.01), (5, 0.01), (9, 0.1)):  # hours and disk, each row rounded
        rounding = digit / 2 * (len(rows) + 1)
        assert sum(float(row[column]) for row in rows) == pytest.approx(float(total[column]), abs=rounding)
    for column in (6, 7, 8):
        assert max(float(row[column]) for row in rows) == float(total[column])


def test_finished_blocks_of_one_cell_need_disk_too(params: Params) -> None:
    """They stay beside the artefact until dvc.lock holds it; of all cells, that of the largest artefact counts."""
    keys = ["7b-fp", *(key for key in params.cells if key.startswith("7b") and params.cells[key].scheme)]
    table = estimate(params, keys).split("\n\n")[-1]
    sizes = {row.split("|")[1].strip(): float(row.split("|")[2]) for row in table.splitlines()[2:]}
    shapes = shapes_of(params, params.cells[keys[0]].model)
    largest = max(cost(params, params.cells[key], shapes, Rates()).resume for key in keys)
    assert sizes["finished blocks of the cell that is being made (the largest)"] == round(largest / 2**30, 1) > 0
    assert sizes["total"] == pytest.approx(sum(sizes.values()) - sizes["total"], abs=0.3)


def test_many_cells_share_rows(params: Params) -> None:
    *rows, total = rows_of(estimate(params, params.cells))
    assert sum(int(row[2]) for row in rows) == int(total[2]) == len(params.cells)


def test_says_that_it_is_arithmetic(params: Params) -> None:
    page = estimate(params, ["7b-fp"], Rates(half=50e12))
    assert "not a measurement" in page
    assert "no published time" in page
    assert "50 and 15 TFLOP/s" in page


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"source": "folder", "path": "nowhere"}, "is not a transformers model folder"),
        ({"source": "hub", "repo": "nobody/no-such-model", "revision": "0" * 40}, "nobody/no-such-model"),
        ({"source": "package", "package": "a==1", "sha256": "0" * 64, "file": "f"}, "fetch-model@m"),
    ],
)
def test_a_model_without_a_configuration_is_a_users_mistake(source: dict[str, Any], message: str) -> None:
    params = params_of({"m": source})
    with pytest.raises(UserError, match=message):
        estimate(params, params.cells)
