"""The suite's tables in Markdown."""

from __future__ import annotations

import numpy as np
from tabulate import tabulate

from bench.config import Params
from bench.results import CellResult
from bench.statistics import LEVEL, Interval, Recovery, resampled_means

SHORT = {"winogrande": "WinoG", "hellaswag": "HellaS", "arc_challenge": "ARC-c", "arc_easy": "ARC-e", "piqa": "PIQA"}


def render(params: Params, results: dict[str, CellResult], recovered: dict[str, dict[str, Recovery]]) -> str:
    """Return the whole page: what was measured, what was recovered, what it cost, and how little it decides."""
    protocol = params.protocol
    n_items = sum(task["n_items"] for task in next(iter(results.values())).summary["tasks"].values())
    n_tokens = next(iter(results.values())).token_losses.size
    parts = [
        f"# Suite `{params.suite}`: recovered accuracy",
        f"{len(protocol.tasks)} tasks, {n_items} items, 0-shot `acc` in %; perplexity over {n_tokens:,} tokens in"
        f" windows of {protocol.perplexity.seq_len}; margin is the log-likelihood of the right choice minus that of the"
        " best wrong one, in nats, averaged over items and tasks.",
        "## Quality",
        quality_table(params, results),
        "## Share of the loss that is recovered, and the cost",
        recovery_table(params, results, recovered),
        f"A share is (cell - base) / (FP - base), in %, with its {LEVEL:.0%} interval, paired over items and"
        " conditional on this one seed. 'n/a' stands where the base has not clearly lost anything on these items, so"
        " that there is nothing to take a share of; the difference to the base, with its interval, is given instead."
        " Bits are those stored per weight of the quantized linears; embeddings and norms are as in FP.",
        caution(params, results),
        *params.report.notes,
        "Made by `dvc repro`. Every number in full precision is in `metrics.json`, commit, versions and machine are in"
        " `provenance.json`, both beside this file.",
    ]
    return "\n\n".join(parts) + "\n"


def quality_table(params: Params, results: dict[str, CellResult]) -> str:
    """A row per cell: perplexity, accuracy per task, their mean, and the margin."""
    tasks = params.protocol.tasks
    rows = [
        [
            result.label,
            _scheme(params, key),
            _number(result.summary["perplexity"], 2),
            *(_number(100 * result.summary["tasks"][task]["acc"], 1) for task in tasks),
            _number(100 * result.mean_accuracy, 2),
            _number(result.mean_margin, 3),
        ]
        for key, result in results.items()
    ]
    headers = ["cell", "scheme", "perplexity", *(SHORT.get(task, task) for task in tasks), "mean acc", "margin"]
    return _markdown(rows, headers, left=2)


def recovery_table(params: Params, results: dict[str, CellResult], recovered: dict[str, dict[str, Recovery]]) -> str:
    """A row per cell: recovered shares with intervals, time, memory and stored bits."""
    rows = []
    for key, result in results.items():
        base = params.report.baselines.get(key)
        shares = recovered.get(key)
        rows.append(
            [
                result.label,
                _scheme(params, key),
                results[base].label if base else "",
                *(
                    [
                        _share(shares["accuracy"], 100, " pt"),
                        _share(shares["log_perplexity"], 1, ""),
                        _share(shares["margin"], 1, ""),
                    ]
                    if shares
                    else ["", "", ""]
                ),
                f"{result.wall_seconds / 60:.1f}",
                f"{result.peak_host_bytes / 2**30:.2f}",
                f"{result.bits_per_weight:.3f}" if result.bits_per_weight else "32",
            ]
        )
    headers = [
        "cell",
        "scheme",
        "base",
        "of accuracy",
        "of log-perplexity",
        "of margin",
        "minutes",
        "peak GiB",
        "bits/weight",
    ]
    return _markdown(rows, headers, left=3)


def caution(params: Params, results: dict[str, CellResult]) -> str:
    """Say from the items themselves how far they reach."""
    last = list(results.values())[-1]
    strata = [np.stack([values], axis=1) for values in last.measure("accuracy")]
    spread = resampled_means(strata, 2000, f"caution/{last.key}").std()
    text = (
        f"**How little this decides:** {len(last.items)} items fix one cell's mean accuracy only to about"
        f" ±{196 * spread:.0f} points, while the differences in question are a few points or less"
    )
    base = results.get(params.report.baselines.get(last.key, ""))
    if base:
        pairs = list(zip(base.items, last.items, strict=True))
        won = sum(new.correct and not old.correct for old, new in pairs)
        lost = sum(old.correct and not new.correct for old, new in pairs)
        text += f"; from {base.label} to {last.label}, of the answers {won} became right and {lost} wrong"
    return text + (
        ". Read perplexity and margin first, and take the recovered share of accuracy here as a demonstration of the"
        " method, not as evidence."
    )


def _scheme(params: Params, key: str) -> str:
    return str(params.cells[key].scheme or "")


def _share(measured: Recovery, factor: float, unit: str) -> str:
    if measured.share is not None:
        return _interval(measured.share, 100, 1)
    return f"n/a ({_interval(measured.gained, factor, 1 if factor > 1 else 3)}{unit})"


def _interval(interval: Interval, factor: float, digits: int) -> str:
    point, low, high = (factor * value for value in (interval.point, interval.low, interval.high))
    return f"{point:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _number(value: float | None, digits: int) -> str:
    return "diverged" if value is None else f"{value:.{digits}f}"


def _markdown(rows: list[list[str]], headers: list[str], left: int) -> str:
    align = ["left"] * left + ["right"] * (len(headers) - left)
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True, colalign=align)
