"""The tables' numbers for other programs: comma-separated, one number a column, in full precision."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

from bench.config import Params
from bench.rows import Row, Spread
from bench.statistics import Interval


def quality_csv(params: Params, rows: list[Row]) -> str:
    """A line a row: perplexities, accuracies as fractions and the margin in nats, means over seeds and deviations."""

    def line(row: Row) -> dict[str, Any]:
        values = {f"perplexity_{text}": row.perplexity(text) for text in params.protocol.perplexity.texts}
        values |= {f"acc_{task}": row.accuracy(task) for task in params.protocol.tasks}
        values |= {"acc_mean": row.mean_accuracy(), "margin": row.mean_margin()}
        bits = row.results[0].bits_per_weight if row.results else None
        numbers: dict[str, Any] = {}
        for name, value in values.items():
            numbers |= _spread(name, value)
        return _names(row) | numbers | {"bits_per_weight": bits}

    return _csv(map(line, rows))


def recovered_csv(rows: list[Row]) -> str:
    """A line a row and measure: what was lost, gained and recovered, with the ends of the intervals, as fractions."""
    return _csv(
        _names(row)
        | {"base": row.base, "measure": measure}
        | _interval("share", value.share)
        | _interval("gained", value.gained)
        | _interval("lost", value.lost)
        | {"withheld": value.withheld, "n_items": value.n_items, "n_seeds": value.n_seeds}
        for row in rows
        for measure, value in (row.recovered or {}).items()
    )


def changed_csv(rows: list[Row]) -> str:
    """A line a row and task: documents answered better and worse than by the base, and McNemar's p-value."""
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
    """Return lines under the header that the first one's keys make; an empty text if there are none."""
    listed = list(lines)
    stream = io.StringIO()
    if listed:
        writer = csv.DictWriter(stream, listed[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(listed)
    return stream.getvalue()
