"""Variances are read from committed results, and are those that results were drawn from."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.analysis.recovery import Stratum, mcnemar, recovery
from bench.power.measured import Measured, load_measured, nearest
from swq.errors import UserError
from swq.quant.scheme import Scheme
from tests.support.repository import ROOT

TASKS, SIZE, N_SEEDS = ("piqa", "arc_easy"), 3000, 10
KEY = "s-m-w3a16g64-omniquant"


@pytest.fixture(scope="module")
def known() -> list[Measured]:
    return load_measured(ROOT / "results")


def test_every_seeded_row_is_read(known: list[Measured]) -> None:
    """Of suite smollm2, the only one with five seeds of SW and its base."""
    rows = [row for row in known if row.suite == "smollm2"]
    cells = json.loads((ROOT / "results/smollm2/cells.json").read_text())
    (losses,) = cells["smollm2-smollm2-135m-fp"]["window_losses"].values()
    assert {(row.method, str(row.scheme)) for row in rows} == {
        (method, scheme) for method in ("omniquant", "tesseraq") for scheme in ("w3a16g64", "w2a16g32")
    }
    for row in rows:
        assert row.n_seeds >= 5 and row.n_windows + row.n_collapsed == len(losses)
        assert 0.02 < row.changed < 0.2 and row.lost_nats > 0.1 and 0 <= row.returning < 0.2
        assert 0 < row.log_perplexity.seeds[0, 0] < 0.1


def test_the_nearest_row_is_of_the_same_method_first(known: list[Measured]) -> None:
    for method, scheme, found in (
        ("omniquant", "w2a16", "w2a16g32"),
        ("tesseraq", "w4a16", "w3a16g64"),
        ("tesseraq", "w2a16g128", "w2a16g32"),
        ("apiq", "w2a16g32", "w3a16g64"),
    ):
        row = nearest(known, method, Scheme.parse(scheme))
        assert (row.method, str(row.scheme)) == (method, found)


def test_of_rows_that_are_equally_near_the_one_with_most_items_is_taken(known: list[Measured]) -> None:
    """Suite methods has the same rows as smollm2 on fewer items."""
    n_items = {row.suite: row.n_items for row in known}
    assert n_items["methods"] < n_items["smollm2"]
    for order in (known, known[::-1]):
        assert nearest(order, "omniquant", Scheme.parse("w3a16g64")).suite == "smollm2"


def drawn(returning: float) -> tuple[list[Stratum], Stratum]:
    """Draw answers of which a tenth change with a seed, a part of them the same ones with every seed."""
    rng = np.random.default_rng(4)
    tasks = []
    for _ in TASKS:
        full = np.ones(SIZE)
        kept = rng.permuted(np.resize([1.0, -1.0], SIZE)) * (rng.random(SIZE) < 0.1 * returning)
        coin = rng.random(SIZE) < 0.2 * (1 - returning)
        base, treated = (np.where(coin, rng.random((N_SEEDS, SIZE)) < 0.5, 0.0) for _ in range(2))
        # a kept item is right with every seed of one side alone
        base, treated = np.where(kept < 0, 1.0, base), np.where(kept > 0, 1.0, treated)
        tasks.append(Stratum(full, base, treated))
    windows = Stratum(np.zeros(8), -1 + 0.05 * rng.normal(size=(N_SEEDS, 8)), -1 + 0.05 * rng.normal(size=(N_SEEDS, 8)))
    return tasks, windows


def write(folder: Path, tasks: list[Stratum], windows: Stratum) -> None:
    """Write a suite's results as a report does."""

    def cell(accuracies: list[float], losses: np.ndarray) -> dict[str, Any]:
        named = {task: {"acc": acc, "n_items": SIZE} for task, acc in zip(TASKS, accuracies, strict=True)}
        return {
            "tasks": named,
            "mean_accuracy": float(np.mean(accuracies)),
            "window_losses": {"t": (-losses).tolist()},
            "diverged": False,
        }

    cells = {"s-m-fp": cell([1.0, 1.0], windows.reference)}
    for seed in range(N_SEEDS):
        cells[f"{KEY}-s{seed}"] = cell([float(t.base[seed].mean()) for t in tasks], windows.base[seed])
        one = [Stratum(t.reference, t.base[seed : seed + 1], t.treated[seed : seed + 1]) for t in tasks]
        changed = {task: asdict(mcnemar((t.treated - t.base)[0])) for task, t in zip(TASKS, one, strict=True)}
        changed["all"] = asdict(mcnemar(np.concatenate([(t.treated - t.base)[0] for t in one])))
        found = recovery(one)
        recovered = {"accuracy": {"gained": asdict(found.gained), "lost": asdict(found.lost)}}
        treated = cell([float(t.treated[seed].mean()) for t in tasks], windows.treated[seed])
        cells[f"{KEY}-sw-s{seed}"] = treated | {"recovered": recovered, "changed": changed}
    folder.mkdir(parents=True)
    (folder / "cells.json").write_text(json.dumps(cells))
    gained = recovery(tasks).gained
    with (folder / "recovered.csv").open("w") as file:
        writer = csv.DictWriter(file, ["row", "measure", "gained_low", "gained_high"])
        writer.writeheader()
        writer.writerow(
            {"row": f"{KEY}-sw", "measure": "accuracy", "gained_low": gained.low, "gained_high": gained.high}
        )


@pytest.mark.parametrize("returning", [0.0, 0.5])
def test_what_returns_with_every_seed_is_told_from_what_is_new(tmp_path: Path, returning: float) -> None:
    write(tmp_path / "s", *drawn(returning))
    (row,) = load_measured(tmp_path)
    assert (row.suite, row.model, row.n_seeds, row.n_windows) == ("s", "s-m", N_SEEDS, 8)
    assert row.changed == pytest.approx(0.1, abs=0.01)
    assert row.returning == pytest.approx(returning, abs=0.08)
    assert row.accuracy.rest[0, 0] == pytest.approx(0.1 * (1 - returning), rel=0.15)


def test_too_few_seeds_give_no_variance(tmp_path: Path) -> None:
    write(tmp_path / "s", *drawn(0.0))
    cells = json.loads((tmp_path / "s/cells.json").read_text())
    fewer = {key: cell for key, cell in cells.items() if key == "s-m-fp" or key[-1] in "0123"}
    (tmp_path / "s/cells.json").write_text(json.dumps(fewer))
    with pytest.raises(UserError, match=r"no suite in .* has a row with SW and 5 seeds"):
        load_measured(tmp_path)


def test_windows_that_collapse_are_left_out_and_counted(tmp_path: Path) -> None:
    tasks, windows = drawn(0.0)
    windows.treated[2, 4] -= 7.0
    write(tmp_path / "s", tasks, windows)
    (row,) = load_measured(tmp_path)
    assert (row.n_windows, row.n_collapsed) == (7, 1) and row.log_perplexity.rest[0, 0] < 0.02
