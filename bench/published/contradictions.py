"""Published figures that contradict each other: copying errors, and one row measured twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from bench.published.figures import Figure, Registry, cite
from bench.render.table import Table

FIVE = ("winogrande", "hellaswag", "arc_challenge", "arc_easy", "piqa")
NEAR = 1.02  # numbers that differ by less than this factor may be in two rows by chance

RowName = tuple[str, str, str | None]  # model, method, scheme


@dataclass(frozen=True)
class Contradiction:
    """One measure of one row, for which two sources print different numbers.

    Attributes:
        row: model, method and scheme.
        measure: e.g. `perplexity.c4`, `tasks.piqa`, or `mean_acc`, which may be recomputed from the tasks.
        values: the numbers, by source.
        copied: the other row that the number of one of the sources belongs to; None if there is none.
    """

    row: RowName
    measure: str
    values: dict[str, float]
    copied: str | None


def contradictions(registry: Registry) -> list[Contradiction]:
    """Return every pair of sources that disagree beyond rounding about a measure of a row."""
    rows: dict[RowName, dict[str, dict[str, float]]] = {}
    for figure in registry.figures:
        for measure, values in _numbers(figure).items():
            rows.setdefault((figure.model, figure.method, figure.scheme), {}).setdefault(measure, {}).update(values)
    return list(_disagreements(rows))


def _numbers(figure: Figure) -> dict[str, dict[str, float]]:
    """Return a figure's numbers by measure and source, its recomputed mean among them."""
    found = {measure: {figure.source: value} for measure, value in figure.numbers.items()}
    mean = figure.mean_accuracy(FIVE)
    if mean is not None:
        found.setdefault("mean_acc", {})[f"{figure.source}, recomputed"] = mean
    return found


def _disagreements(rows: dict[RowName, dict[str, dict[str, float]]]) -> Iterator[Contradiction]:
    for row, measures in rows.items():
        for measure, values in measures.items():
            for first, second in combinations(values, 2):
                if not _agree(values[first], values[second]):
                    two = {first: values[first], second: values[second]}
                    copied = _copied(rows, row, measure, two) if _factor(two) > NEAR else None
                    yield Contradiction(row, measure, two, copied)


def _agree(first: float, second: float) -> bool:
    """Say whether two numbers agree to the digits of the one that is printed with fewer digits."""
    digits = min(2, *(len(str(value).partition(".")[2]) for value in (first, second)))
    return abs(first - second) <= 0.51 * 10**-digits


def _copied(
    rows: dict[RowName, dict[str, dict[str, float]]], row: RowName, measure: str, values: dict[str, float]
) -> str | None:
    """Say which other row of the model holds one of the numbers exactly, in the other source."""
    for other, measures in rows.items():
        if other == row or other[0] != row[0]:
            continue
        for source, value in measures.get(measure, {}).items():
            for ours, printed in values.items():
                if ours != source and printed == value:
                    return (
                        f"{ours} prints {printed:g}, which is {other[1]}'s at {other[2] or 'full precision'} ({source})"
                    )
    return None


def contradictions_page(registry: Registry) -> str:
    """Return what contradicts what, copying errors first, the largest differences next."""
    found = sorted(contradictions(registry), key=lambda c: (c.copied is None, -_factor(c.values)))
    rows = [
        [
            contradiction.row[0].rpartition("/")[2],
            contradiction.row[1],
            contradiction.row[2] or "",
            contradiction.measure.rpartition(".")[2],
            *(cite(value, source) for source, value in contradiction.values.items()),
            contradiction.copied or "",
        ]
        for contradiction in found
    ]
    headers = ["model", "method", "scheme", "measure", "one source", "another", "copied from another row"]
    return "\n\n".join(
        [
            f"{len(found)} published figures contradict another, {sum(c.copied is not None for c in found)} of them by"
            " copying. Recomputed means are over the tasks that the source prints.",
            Table(rows, headers, left=4).markdown(),
            registry.sources_of(source.removesuffix(", recomputed") for c in found for source in c.values),
        ]
    )


def _factor(values: dict[str, float]) -> float:
    smallest = min(values.values())
    return max(values.values()) / smallest if smallest else float("inf")
