"""The numbers behind the tables, for other programs: headline numbers of every row and all of every cell as JSON, and
the tables' numbers as comma-separated values, one number a column, in full precision.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from bench.analysis.compare import changed_answers, compared, recovered_by
from bench.analysis.recovery import Array, Interval, Recovery
from bench.analysis.results import CellResult
from bench.analysis.rows import Row, Spread
from bench.config.params import Params
from bench.report.tables.answers import words


def row_metrics(params: Params, row: Row) -> dict[str, Any]:
    """Return a row's headline numbers: perplexities, accuracy, log-probability, margin, shares with intervals."""
    texts = params.protocol.perplexity.texts
    spreads = {f"perplexity_{text}": row.perplexity(text) for text in texts}
    spreads |= {"accuracy": row.mean_accuracy(), "log_probability": row.mean_log_probability()}
    spreads |= {"margin": row.mean_margin()}
    found: dict[str, Any] = {"seeds": len(row.results)}
    found |= {name: spread.mean if spread else None for name, spread in spreads.items()}
    shares = _shares(row)
    changed = {"changed": asdict(row.changed["all"])} if row.changed else {}
    return found | ({"recovered": shares} if shares else {}) | changed


def suite_metrics(params: Params, rows: list[Row], whole: Row | None, beside: list[tuple[Row, str]]) -> dict[str, Any]:
    """Return the headline numbers of a suite's rows, of the arms that its plan pools, and of both beyond placebos."""
    found = {row.name: row_metrics(params, row) for row in rows}
    if whole:
        found[whole.name] = {"called": whole.label} | _answered(params, whole)
    for row, placebo in beside:
        found[row.name].setdefault("beyond_placebo", {})[placebo] = _answered(params, row)
    return found


def _answered(params: Params, row: Row) -> dict[str, Any]:
    assert row.recovered is not None
    n_seeds = min(value.n_seeds for value in row.recovered.values())
    said = words(params, row.recovered, planned=True)
    answers = {measure: said[measure] for measure in params.plan.measures} if params.plan else {}
    return {"seeds": n_seeds, "answers": answers, "recovered": _shares(row)}


def _shares(row: Row) -> dict[str, Any]:
    return {_named(name, value): asdict(value.share) for name, value in (row.recovered or {}).items() if value.share}


def cell_metrics(params: Params, results: dict[str, CellResult], key: str) -> dict[str, Any]:
    """Return everything that was measured of one cell, and what it recovers and changes against its base by itself.

    `window_losses` are each window's mean loss in nats per token: log-perplexity is their mean.
    """
    result, recovered = results[key], recovered_by(params, results, (key,))
    return result.summary | {
        "window_losses": {text: _window_means(losses) for text, losses in result.window_losses.items()},
        "mean_accuracy": result.mean_accuracy,
        "mean_log_probability": result.mean_log_probability,
        "mean_margin": result.mean_margin,
        "bits_per_weight": result.bits_per_weight,
        "recovered": {_named(measure, value): _plain(value) for measure, value in recovered.items()}
        if recovered
        else None,
        "changed": {task: asdict(n) for task, n in changed_answers(compared(params, results, (key,))).items()} or None,
    }


def _named(measure: str, recovered: Recovery) -> str:
    """Return what a measure is called: by medians over windows it is another one."""
    return f"{measure}_median" if recovered.medians else measure


def _plain(recovered: Recovery) -> dict[str, Any]:
    return {name: value for name, value in asdict(recovered).items() if name != "medians"}


def _window_means(losses: Array) -> list[float | None]:
    """Return the means; None where it is not finite, which JSON cannot express."""
    return [mean if math.isfinite(mean) else None for mean in losses.tolist()]


def quality_csv(params: Params, rows: list[Row]) -> str:
    """One line per row: perplexities, accuracies as fractions, the margin in nats; means over seeds and deviations."""

    def line(row: Row) -> dict[str, Any]:
        values = {f"perplexity_{text}": row.perplexity(text) for text in params.protocol.perplexity.texts}
        values |= {f"acc_{task}": row.accuracy(task) for task in params.protocol.tasks}
        values |= {"acc_mean": row.mean_accuracy(), "log_probability": row.mean_log_probability()}
        values |= {"margin": row.mean_margin()}
        bits = row.results[0].bits_per_weight if row.results else None
        numbers: dict[str, Any] = {}
        for name, value in values.items():
            numbers |= _spread(name, value)
        return _names(row) | numbers | {"bits_per_weight": bits}

    return _csv(map(line, rows))


def recovered_csv(rows: list[Row]) -> str:
    """One line per row and measure: what was lost, gained and recovered, with the intervals' ends, as fractions."""
    return _csv(line for row in rows for line in _recovered(row, {"base": row.base}))


def placebo_csv(beside: Iterable[tuple[Row, str]]) -> str:
    """One line per arm, placebo and measure: what the arm recovers beyond the placebo, as `recovered_csv` says it."""
    return _csv(line for row, placebo in beside for line in _recovered(row, {"placebo": placebo}))


def _recovered(row: Row, beside: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for measure, value in (row.recovered or {}).items():
        numbers = {"withheld": value.withheld, "n_items": value.n_items, "n_seeds": value.n_seeds}
        intervals = {"share": value.share, "gained": value.gained, "lost": value.lost}
        line = _names(row) | beside | {"measure": _named(measure, value)}
        for name, interval in intervals.items():
            line |= _interval(name, interval)
        yield line | numbers


def changed_csv(rows: list[Row]) -> str:
    """One line per row and task: documents answered better and worse than by the base, and McNemar's p-value."""
    return _csv(
        _names(row) | {"base": row.base, "task": task, "better": n.better, "worse": n.worse, "p": n.p}
        for row in rows
        for task, n in row.changed.items()
    )


def _names(row: Row) -> dict[str, Any]:
    cell = row.cell
    return {"row": row.name, "model": cell.model, "cell": row.label, "scheme": cell.scheme, "seeds": len(row.results)}


def _spread(name: str, value: Spread | None) -> dict[str, float | None]:
    return {name: value.mean if value else None, f"{name}_sd": value.deviation if value else None}


def _interval(name: str, interval: Interval | None) -> dict[str, float | None]:
    ends = (interval.point, interval.low, interval.high) if interval else (None, None, None)
    return dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))


def _csv(lines: Iterable[dict[str, Any]]) -> str:
    """Return lines under a header made of the first line's keys; an empty text if there are no lines."""
    listed = list(lines)
    stream = io.StringIO()
    if listed:
        writer = csv.DictWriter(stream, listed[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(listed)
    return stream.getvalue()
