"""A cell compared with its base: how much of the base's loss it recovers, and which answers changed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.analysis.median_windows import median_recovery, n_collapsed
from bench.analysis.recovery import Array, McNemar, Recovery, Stratum, mcnemar, recovery
from bench.analysis.results import CellResult
from bench.config.params import Params
from bench.config.seeds import SeedGroup

MEASURES = ("accuracy", "log_perplexity", "log_probability")  # of every suite
STANDARDISED = "log_probability"  # task by task, before tasks are averaged
DIVERGENCE = "divergence"  # of a suite whose protocol asks for it

Pair = tuple[CellResult, CellResult]  # the base, and the cell that is compared with it
Triple = tuple[CellResult, CellResult, CellResult]  # and the placebo that gains are counted from


def recovered_by(params: Params, results: dict[str, CellResult], keys: SeedGroup) -> dict[str, Recovery] | None:
    """Return, in each measure, what cells recover of what their baselines lost; each cell is a seed.

    A cell is left out if it, its base or full precision was not run or diverged. None if no cell is left.
    """
    reference, pairs = full_precision(params, results, keys), compared(params, results, keys)
    if reference is None or not pairs:
        return None
    return {name: recovered(strata(reference, pairs, name), name) for name in measures(params)}


def measures(params: Params) -> tuple[str, ...]:
    """Return what a suite's cells are compared in."""
    return (*MEASURES, *([DIVERGENCE] if params.protocol.perplexity.kl_windows else []))


def recovered(items: list[Stratum], measure: str, n: int = 1) -> Recovery:
    """Return what is recovered in a measure; `n` of the intervals hold together.

    Of log-perplexity it is by medians over windows where some of them collapse: no interval of the mean holds then.
    """
    by_medians = measure == "log_perplexity" and n_collapsed(items)
    return median_recovery(items, n) if by_medians else recovery(items, n)


def full_precision(params: Params, results: dict[str, CellResult], keys: SeedGroup) -> CellResult | None:
    """Return full precision's result of the cells' model; None if it was not run or diverged."""
    result = results.get(params.reference(keys[0]) or "")
    return None if result is None or result.diverged else result


def compared(params: Params, results: dict[str, CellResult], keys: SeedGroup) -> list[Pair]:
    """Return the base and the cell of every cell that can be compared with its base."""
    pairs = []
    for key in keys:
        base = params.report.baselines.get(key)
        if base is not None and {key, base} <= results.keys():
            pairs.append((results[base], results[key]))
    return [pair for pair in pairs if not any(result.diverged for result in pair)]


def changed_answers(pairs: list[Pair]) -> dict[str, McNemar]:
    """Return by task, and over all of them, how many documents a cell gets right and its base wrong, and vice versa.

    With several seeds a document counts once: as better if more seeds became right on it than became wrong.
    """
    if not pairs:
        return {}
    base, treated = ([result.measure("accuracy") for result in side] for side in zip(*pairs, strict=True))
    tasks = list(pairs[0][0].summary["tasks"])
    gained = {
        task: np.sum([t[place] - b[place] for b, t in zip(base, treated, strict=True)], axis=0)
        for place, task in enumerate(tasks)
    }
    return {name: mcnemar(values) for name, values in gained.items()} | {
        "all": mcnemar(np.concatenate(list(gained.values())))
    }


def strata(reference: CellResult, pairs: Sequence[Pair | Triple], measure: str) -> list[Stratum]:
    """Return a measure's items, one stratum per task or text; a pair or triple is a seed.

    `load_results` has checked that all were scored on the same documents.
    """
    whole = reference.measure(measure)
    sides = [[result.measure(measure) for result in side] for side in zip(*pairs, strict=True)]
    found = []
    for place, values in enumerate(whole):
        unit = _unit(values) if measure == STANDARDISED else 1.0
        stacked = (np.stack([seed[place] for seed in side]) for side in sides)
        found.append(Stratum(values / unit, *(side / unit for side in stacked)))
    return found


def _unit(values: Array) -> float:
    """Return the standard deviation of full precision's items of a task: tasks with long choices then weigh no more."""
    return float(values.std(ddof=1)) or 1.0 if len(values) > 1 else 1.0
