"""The numbers behind the tables: few for every row, for `dvc metrics`, and all for every cell."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np

from bench.config import Params
from bench.results import CellResult, compared, recovered_by
from bench.rows import Row, changed_answers
from bench.statistics import Array


def row_metrics(params: Params, row: Row) -> dict[str, Any]:
    """Return a row's headline numbers: perplexities, accuracy, margin, recovered shares with intervals."""
    texts = params.protocol.perplexity.texts
    spreads = {f"perplexity_{text}": row.perplexity(text) for text in texts}
    spreads |= {"accuracy": row.mean_accuracy(), "margin": row.mean_margin()}
    found: dict[str, Any] = {"seeds": len(row.results)}
    found |= {name: spread.mean if spread else None for name, spread in spreads.items()}
    shares = {measure: asdict(value.share) for measure, value in (row.recovered or {}).items() if value.share}
    changed = {"changed": asdict(row.changed["all"])} if row.changed else {}
    return found | ({"recovered": shares} if shares else {}) | changed


def cell_metrics(params: Params, results: dict[str, CellResult], key: str) -> dict[str, Any]:
    """Return everything that was measured of one cell, and what it recovers and changes against its base by itself.

    `window_losses` are each window's mean loss in nats a token: log-perplexity is their mean.
    """
    result, recovered = results[key], recovered_by(params, results, (key,))
    return result.summary | {
        "window_losses": {text: _window_means(losses) for text, losses in result.token_losses.items()},
        "mean_accuracy": result.mean_accuracy,
        "mean_margin": result.mean_margin,
        "bits_per_weight": result.bits_per_weight,
        "recovered": {measure: asdict(value) for measure, value in recovered.items()} if recovered else None,
        "changed": {task: asdict(n) for task, n in changed_answers(compared(params, results, (key,))).items()} or None,
    }


def _window_means(losses: Array) -> list[float | None]:
    """Return each window's mean; None where it is no number that JSON has."""
    return [mean if math.isfinite(mean) else None for mean in losses.mean(axis=1, dtype=np.float64).tolist()]
