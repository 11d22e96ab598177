"""The suite's page: its tables and what stands between them."""

from __future__ import annotations

import numpy as np

from bench.config import Params
from bench.results import MEASURES, CellResult, label, labels
from bench.statistics import LEVEL, MIN_SEEDS, Interval, Recovery, mcnemar, mean_interval
from bench.table import Table

NOT_RUN = "not run"
DTYPE_BITS = {"float32": "32", "float16": "16", "bfloat16": "16"}
SHORT = {"winogrande": "WinoG", "hellaswag": "HellaS", "arc_challenge": "ARC-c", "arc_easy": "ARC-e", "piqa": "PIQA"}


def page(
    params: Params,
    results: dict[str, CellResult],
    recovered: dict[str, dict[str, Recovery]],
    over_seeds: dict[tuple[str, ...], dict[str, Recovery]],
    published: list[str | Table],
) -> list[str | Table]:
    """Return the whole page, paragraphs and tables: what was measured, what was recovered and what it cost, and how
    little that decides.

    `published` is the section of published figures, empty if there are none for these models.
    """
    return [
        f"# Suite `{params.suite}`: recovered accuracy",
        _what_is_measured(params, results),
        "## Quality",
        quality_table(params, results),
        "## Share of the loss that is recovered, and the cost",
        recovery_table(params, results, recovered),
        f"A share is (cell - base) / (FP - base), in %, with its {LEVEL:.0%} interval (Fieller's, paired over items and"
        " conditional on this one seed). 'n/a' stands where the base has not clearly lost anything on these items, or"
        " where too few of them differ from the base to say; the difference to the base, with its interval, is given"
        " instead. Bits are those stored per weight of the quantized linears; embeddings and norms are as in FP.",
        *(seeds_section(params, over_seeds) if over_seeds else []),
        *([caution(params, results)] if results else []),
        *published,
        *params.report.notes,
        "Made by `dvc repro`. Every number in full precision is in `metrics.json`, commit, versions and machine are in"
        " `provenance.json`, both beside this file.",
    ]


def markdown_page(parts: list[str | Table]) -> str:
    """Return a page in Markdown."""
    return "\n\n".join(part.markdown() if isinstance(part, Table) else part for part in parts) + "\n"


def _what_is_measured(params: Params, results: dict[str, CellResult]) -> str:
    """Say what a number stands on: of the cells that were run, or what it will stand on."""
    protocol = params.protocol
    missing = len(params.cells) - len(results)
    first = next(iter(results.values()), None)
    n_items = f", {sum(task['n_items'] for task in first.summary['tasks'].values())} items" if first else ""
    n_tokens = f"over {sum(t.size for t in first.token_losses.values()):,} tokens " if first else ""
    return (
        f"{len(protocol.tasks)} tasks{n_items}, 0-shot `acc` in %; perplexity {n_tokens}in"
        f" windows of {protocol.perplexity.seq_len}; margin is the log-likelihood of the right choice minus that of the"
        " best wrong one, in nats, averaged over items and tasks."
        + (f" {missing} of {len(params.cells)} cells were not run, or not since they were edited." if missing else "")
    )


def quality_table(params: Params, results: dict[str, CellResult]) -> Table:
    """A row per cell: perplexity, accuracy per task, their mean, and the margin."""
    tasks, texts = params.protocol.tasks, params.protocol.perplexity.texts
    width = len(texts) + len(tasks) + 2
    rows = []
    for key, names in cell_names(params).items():
        result = results.get(key)
        if result is None:
            rows.append([*names, NOT_RUN, *[""] * (width - 1)])
            continue
        rows.append(
            [
                *names,
                *(_number(result.summary["perplexity"][text], 2) for text in texts),
                *(_percent(result.summary["tasks"][task]["acc"], 1) for task in tasks),
                _percent(result.mean_accuracy, 2),
                _number(result.mean_margin, 3),
            ]
        )
    of_texts = ["perplexity"] if len(texts) == 1 else [f"{text} ppl" for text in texts]
    headers = [*name_headers(params), *of_texts, *(SHORT.get(task, task) for task in tasks), "mean acc", "margin"]
    return Table(rows, headers, left=len(name_headers(params)))


def recovery_table(params: Params, results: dict[str, CellResult], recovered: dict[str, dict[str, Recovery]]) -> Table:
    """A row per cell: recovered shares with intervals, time, memory and stored bits."""
    names, called = cell_names(params), labels(params)
    rows = []
    for key in params.cells:
        base = params.report.baselines.get(key)
        result, shares = results.get(key), recovered.get(key)
        row = [*names[key], called[base] if base else ""]
        if result is None:
            rows.append([*row, NOT_RUN, *[""] * 5])
            continue
        measured = _shares(shares) if shares else [""] * len(MEASURES)
        rows.append(
            [
                *row,
                *measured,
                f"{result.wall_seconds / 60:.1f}",
                f"{result.peak_host_bytes / 2**30:.2f}",
                f"{result.bits_per_weight:.3f}" if result.bits_per_weight else DTYPE_BITS[params.protocol.dtype],
            ]
        )
    shares_of = [f"of {measure.replace('_', '-')}" for measure in MEASURES]
    headers = [*name_headers(params), "base", *shares_of, "minutes", "peak GiB", "bits/weight"]
    return Table(rows, headers, left=len(name_headers(params)) + 1)


def seeds_section(params: Params, over_seeds: dict[tuple[str, ...], dict[str, Recovery]]) -> list[str | Table]:
    """A row per row of the suite that was run with several seeds: what is recovered over all of them."""
    several = [cell.model for cell in params.cells.values()]
    rows = []
    for keys, shares in over_seeds.items():
        cell, base = params.cells[keys[0]], params.cells[params.report.baselines[keys[0]]]
        n_seeds = next(iter(shares.values())).n_seeds
        names = [*([cell.model] if len(set(several)) > 1 else []), label(cell), str(cell.scheme or ""), label(base)]
        rows.append([*names, str(n_seeds), *_shares(shares)])
    headers = [*name_headers(params), "base", "seeds", *(f"of {measure.replace('_', '-')}" for measure in MEASURES)]
    return [
        "## Over seeds",
        Table(rows, headers, left=len(name_headers(params)) + 1),
        "Here seeds are drawn at random like items, so that the interval holds for seeds that were not run; with fewer"
        f" than {MIN_SEEDS} it is conditional on these seeds.",
    ]


def _shares(shares: dict[str, Recovery]) -> list[str]:
    factors = {"accuracy": (100, " pt"), "log_perplexity": (1, ""), "margin": (1, "")}
    return [_share(shares[measure], *factors[measure]) for measure in MEASURES]


def cell_names(params: Params) -> dict[str, list[str]]:
    """Return what a cell's row begins with: its model where the suite has several, its label, its scheme."""
    called = labels(params)
    several = len({cell.model for cell in params.cells.values()}) > 1
    return {
        key: [*([cell.model] if several else []), called[key], str(cell.scheme or "")]
        for key, cell in params.cells.items()
    }


def name_headers(params: Params) -> list[str]:
    """Return the headers above `cell_names`."""
    return (
        ["cell", "scheme"] if len({cell.model for cell in params.cells.values()}) == 1 else ["model", "cell", "scheme"]
    )


def caution(params: Params, results: dict[str, CellResult]) -> str:
    """Say from the items themselves how far they reach."""
    finite = {key: result for key, result in results.items() if not result.diverged}
    if not finite:
        return "Every cell diverged: there is nothing to compare."
    last, called = list(finite.values())[-1], labels(params)
    spread = mean_interval(last.measure("accuracy"))
    text = (
        f"**How little this decides:** {len(last.items)} items fix one cell's mean accuracy only to about"
        f" ±{50 * (spread.high - spread.low):.0f} points, while the differences in question are a few points or less"
    )
    base = finite.get(params.report.baselines.get(last.key, ""))
    if base:
        answers = [np.concatenate(result.measure("accuracy")) for result in (base, last)]
        won, lost, p = mcnemar(*answers)
        text += (
            f"; from {called[base.key]} to {called[last.key]}, of the answers {won} became right and {lost} wrong, as"
            f" chance alone does with p = {p:.2f} (exact McNemar)"
        )
    return text + (
        ". Read perplexity and margin first, and take the recovered share of accuracy here as a demonstration of the"
        " method, not as evidence."
    )


def _share(measured: Recovery, factor: float, unit: str) -> str:
    if measured.share is not None:
        return _interval(measured.share, 100, 1)
    return f"n/a ({_interval(measured.gained, factor, 1 if factor > 1 else 3)}{unit})"


def _interval(interval: Interval, factor: float, digits: int) -> str:
    point, low, high = (factor * value for value in (interval.point, interval.low, interval.high))
    return f"{point:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _percent(value: float | None, digits: int) -> str:
    return _number(None if value is None else 100 * value, digits)


def _number(value: float | None, digits: int) -> str:
    return "diverged" if value is None else f"{value:.{digits}f}"
