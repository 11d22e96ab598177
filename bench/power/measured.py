"""The variances that are known: of SW against its base, in suites of `results/` with five seeds or more.

They are read from `cells.json` and `recovered.csv` there, so no model and no score is needed. A cell's key says what it
is: model, scheme, row (which begins with its method's name), `sw`, and its seed, as a `grid` writes them.

Log-perplexity. Components over seeds and windows, as fractions of what is lost. Windows that collapsed are left out:
where they do, a report shows medians, and their intervals are wider.

Accuracy. `cells.json` says how many answers change with each seed, not which. So a seed's variance over items is known,
and how far seeds lie apart. A part of the former (`items`) returns with every seed. It is found from the width of the
interval over all seeds, in `recovered.csv`. The gain is t - b and the loss is f - b: both hold b. If SW does nothing,
base and treated are alike, and b makes half of the variance of t - b. That half is also the covariance with f - b.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import stdtrit

from bench.analysis.median_windows import collapsed
from bench.analysis.recovery import LEVEL, MIN_SEEDS, Array, Stratum
from bench.power.components import Components, components
from swq.errors import UserError
from swq.quant.scheme import Scheme

RESULTS = Path("results")
KEY = re.compile(
    r"(?P<model>.+)-(?P<scheme>w\d+a16(?:g\d+)?)-(?P<row>(?P<method>omniquant|tesseraq|apiq)[\w-]*?)-sw-s\d+"
)


@dataclass(frozen=True)
class Measured:
    """The variances of one row with SW.

    Attributes:
        suite: whose results they are from.
        name: of the row with SW: the key of its cells without their seed.
        model: the row's model, with the suite's name before it, as in its key.
        scheme: of the row.
        row: its base, as the suite names that row.
        method: of both, as a configuration names it.
        n_seeds: seeds; variances of seeds have one degree of freedom less.
        n_items: items of all tasks.
        n_windows: windows that did not collapse.
        n_collapsed: windows that did, and are left out.
        log_perplexity: components, as fractions of what is lost.
        accuracy: components of one item's gain and loss, as fractions of 1 (squared).
        changed: share of answers that differ between base and treated of one seed.
        lost: accuracy that the base lost, as a fraction of 1.
        lost_nats: log-perplexity that it lost, on these windows.
    """

    suite: str
    name: str
    model: str
    scheme: Scheme
    row: str
    method: str
    n_seeds: int
    n_items: int
    n_windows: int
    n_collapsed: int
    log_perplexity: Components
    accuracy: Components
    changed: float
    lost: float
    lost_nats: float

    @property
    def returning(self) -> float:
        """Share of the variance of changed answers that returns with every seed."""
        items, rest = self.accuracy.items[0, 0], self.accuracy.rest[0, 0]
        return float(items / (items + rest)) if items + rest else 0.0

    @property
    def called(self) -> str:
        return f"{self.suite}: {self.row} {self.scheme}"


def load_measured(folder: Path = RESULTS) -> list[Measured]:
    """Read the variances of every suite's results.

    Raises:
        UserError: no suite has a row with SW, its base and five seeds.
    """
    found = [row for path in sorted(folder.glob("*/cells.json")) for row in _of_suite(path)]
    if not found:
        raise UserError(f"no suite in {folder} has a row with SW and {MIN_SEEDS} seeds, so no variance is known")
    return found


def nearest(known: list[Measured], method: str, scheme: Scheme) -> Measured:
    """Return the measured row that is most like a row: by method first, then by bits, then by the size of groups.

    Of rows that are equally like it, the one with the most items is known best.
    """

    def distance(row: Measured) -> tuple[bool, int, float, int]:
        groups = [s.group_size or 4096 for s in (row.scheme, scheme)]  # a channel is about as long in a large model
        ratio = float(abs(np.log2(groups[0] / groups[1])))
        return (row.method != method, abs(row.scheme.n_bits - scheme.n_bits), ratio, -row.n_items)

    return min(known, key=distance)


def _of_suite(path: Path) -> Iterator[Measured]:
    cells: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    rows: dict[tuple[str, ...], list[str]] = {}
    for key in cells:
        if match := KEY.fullmatch(key):
            rows.setdefault(match.group("model", "scheme", "row", "method"), []).append(key)
    for (model, scheme, row, method), keys in rows.items():
        pairs = [(cells[key.replace("-sw-s", "-s")], cells[key]) for key in keys if key.replace("-sw-s", "-s") in cells]
        if len(pairs) < MIN_SEEDS or f"{model}-fp" not in cells or any(c["diverged"] for pair in pairs for c in pair):
            continue
        windows = _windows(cells[f"{model}-fp"], pairs)
        name = keys[0].rpartition("-s")[0]
        wide = _gain_half_width(path.parent / "recovered.csv", name)
        answers = [treated["changed"]["all"] for _, treated in pairs]
        n_items = sum(task["n_items"] for task in pairs[0][1]["tasks"].values())
        yield Measured(
            suite=path.parent.name,
            name=name,
            model=model,
            scheme=Scheme.parse(scheme),
            row=row,
            method=method,
            n_seeds=len(pairs),
            n_items=n_items,
            n_windows=windows[0].shape[2],
            n_collapsed=windows[1],
            lost_nats=float(windows[0][1].mean()),
            log_perplexity=components(windows[0]).over(float(windows[0][1].mean())).possible(),
            accuracy=_answers([treated for _, treated in pairs], wide),
            changed=float(np.mean([(a["better"] + a["worse"]) / n_items for a in answers])),
            lost=cells[f"{model}-fp"]["mean_accuracy"] - float(np.mean([b["mean_accuracy"] for b, _ in pairs])),
        )


def _windows(full: dict[str, Any], pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> tuple[Array, int]:
    """Return what whole windows gained and lost, (2, n_seeds, n_windows), of all texts, and how many collapsed."""
    values, n_collapsed = [], 0
    for text, losses in full["window_losses"].items():
        base, treated = (
            -np.array([cell["window_losses"][text] for cell in cells]) for cells in zip(*pairs, strict=True)
        )
        stratum = Stratum(-np.array(losses), base, treated)
        broken = collapsed(stratum)
        values.append(stratum.contrasts()[:, :, ~broken])
        n_collapsed += int(broken.sum())
    return np.concatenate(values, axis=2), n_collapsed


def _answers(treated: list[dict[str, Any]], wide: float) -> Components:
    """Return the components of accuracy from counts of changed answers, and the gain's half-width over all seeds."""
    sizes = tuple(task["n_items"] for task in treated[0]["tasks"].values())
    weight = sum(1 / size for size in sizes) / len(sizes) ** 2
    one = float(np.mean([_variance(cell, sizes) for cell in treated])) / weight  # of an item's gain, with one seed
    found = [cell["recovered"]["accuracy"] for cell in treated]
    apart = float(np.var([a["gained"]["point"] for a in found], ddof=1))  # seeds, and what is new with every seed

    def parts(items: float) -> Components:
        rest = one - items
        seeds = max(0.0, apart - weight * rest)
        half = np.array([[1.0, 0.5], [0.5, 0.5]])  # the second is b's own
        lost = (
            float(np.mean([_half(a["lost"]) ** 2 for a in found])) / stdtrit(sum(sizes), (1 + LEVEL) / 2) ** 2 / weight
        )
        kept = np.array([[items, items / 2], [items / 2, max(items / 2, lost - rest / 2)]])
        return Components(seeds * half, kept, rest * half)

    def too_wide(items: float) -> float:
        given = parts(items)
        n = len(treated)
        rest = weight * given.rest[0, 0] / n
        total, extra = weight * items + rest, max(0.0, apart / n - rest)
        spread = total**2 / (sum(sizes) - len(sizes)) + ((extra + rest) ** 2 / (n - 1) if extra else 0.0)
        return float(stdtrit((total + extra) ** 2 / spread, (1 + LEVEL) / 2) * (total + extra) ** 0.5 - wide)

    if too_wide(0.0) >= 0:
        return parts(0.0)
    return parts(one if too_wide(one) <= 0 else float(brentq(too_wide, 0.0, one)))


def _variance(cell: dict[str, Any], sizes: tuple[int, ...]) -> float:
    """Return the variance over items of one seed's gain in mean accuracy."""
    total = 0.0
    for task, n in zip(cell["tasks"], sizes, strict=True):
        better, worse = cell["changed"][task]["better"] / n, cell["changed"][task]["worse"] / n
        total += (better + worse - (better - worse) ** 2) / max(1, n - 1)
    return total / len(sizes) ** 2


def _half(interval: dict[str, float]) -> float:
    return (interval["high"] - interval["low"]) / 2


def _gain_half_width(path: Path, row: str) -> float:
    """Return the half-width of a row's gained accuracy over all its seeds."""
    with path.open(encoding="utf-8") as file:
        for line in csv.DictReader(file):
            if (line["row"], line["measure"]) == (row, "accuracy"):
                return (float(line["gained_high"]) - float(line["gained_low"])) / 2
    raise UserError(f"{path} has no accuracy of row {row}: `python -m bench report` makes it from raw files")
