"""The suite's page: its tables and what stands between them."""

from __future__ import annotations

from bench import answers, presence, windows
from bench.config import Params
from bench.image import Image
from bench.results import CellResult
from bench.rows import Row
from bench.statistics import LEVEL, MIN_SEEDS, mean_interval
from bench.table import Table

Part = str | Table | Image


def page(
    params: Params,
    results: dict[str, CellResult],
    rows: list[Row],
    tables: dict[str, Table],
    images: dict[str, Image],
    published: list[str | Table],
) -> list[Part]:
    """Return the whole page: what was measured, what was recovered and what it cost, and how little that decides.

    `tables` and `images` are those of bench.tables and bench.plots by name, plots that have nothing to show left out;
    `published` is the section of published figures, empty if there is none.
    """

    def plot(*names: str) -> list[Part]:
        return [images[name] for name in names if name in images]

    answered: list[Part] = ["## Does SW help?", tables["answers"], answers.EXPLAINED]
    broken: list[Part] = ["### Windows that broke", tables["windows"], windows.EXPLAINED]
    changed: list[Part] = ["## Answers that changed", tables["changed"], _what_changed_means(params)]
    present: list[Part] = ["### How much of SW there was", tables["presence"], presence.EXPLAINED]
    training = [*(present if tables["presence"].rows else []), *plot("losses", "sensitivity")]
    return [
        f"# Suite `{params.suite}`: recovered accuracy",
        _what_is_measured(params, results),
        *(answered if tables["answers"].rows else []),
        "## Quality",
        tables["quality"],
        *(broken if tables["windows"].rows else []),
        *plot("bits"),
        "## Share of the loss that is recovered, and the cost",
        *plot("recovered"),
        tables["recovered"],
        _what_a_share_is(params),
        *(changed if tables["changed"].rows else []),
        *([_caution(results)] if results else []),
        *(["## Training", *training] if training else []),
        *published,
        "## About these numbers",
        *params.report.notes,
        *_diverged(rows),
        "Made by `dvc repro`. The numbers of every cell in full precision are in `cells.json`, those of every row in"
        " `metrics.json`, commit, versions and machine in `provenance.json`, all beside this file.",
    ]


def markdown_page(parts: list[Part]) -> str:
    """Return a page in Markdown."""
    return "\n\n".join(part if isinstance(part, str) else part.markdown() for part in parts) + "\n"


def _what_is_measured(params: Params, results: dict[str, CellResult]) -> str:
    """Say what a number stands on: of the cells that were run, or what it will stand on."""
    protocol = params.protocol
    missing = len(params.cells) - len(results)
    first = next(iter(results.values()), None)
    n_items = f", {sum(task['n_items'] for task in first.summary['tasks'].values()):,} items" if first else ""
    limit = f" (the first {protocol.limit} of each)" if protocol.limit else ""
    n_tokens = f"over {sum(t.size for t in first.token_losses.values()):,} tokens " if first else ""
    return (
        f"{len(protocol.tasks)} tasks{n_items}{limit}, 0-shot `acc` in %; perplexity {n_tokens}in"
        f" windows of {protocol.perplexity.seq_len}; margin is the log-likelihood of the right choice minus that of the"
        " best wrong one, in nats, averaged over items and tasks."
        + (" With several seeds a number is their mean ± their standard deviation." if params.several_seeds else "")
        + (f" {missing} of {len(params.cells)} cells were not run, or not since they were edited." if missing else "")
    )


def _what_a_share_is(params: Params) -> str:
    over = "conditional on this one seed"
    if params.several_seeds:
        over = (
            f"with {MIN_SEEDS} seeds or more also over seeds, both drawn at random; with fewer it is conditional on"
            " these seeds"
        )
    return (
        f"A share is (cell - base) / (FP - base), in %, with its {LEVEL:.0%} interval (Fieller's, paired over items and"
        f" {over}). 'n/a' stands where the base has not clearly lost anything on these items, or where too few of them"
        " differ from the base to say; the difference to the base, with its interval, is given instead. Minutes are a"
        " cell's; bits are those stored per weight of the quantized linears, embeddings and norms are as in FP."
    )


def _what_changed_means(params: Params) -> str:
    seeds = (
        " With several seeds a document counts once, as better if more seeds became right on it than wrong."
        if params.several_seeds
        else ""
    )
    return (
        "Documents answered better and worse than by the base, and in brackets the p-value of that by chance alone"
        f" for these trainings (exact McNemar, two-sided, not corrected for the number of tests).{seeds}"
    )


def _caution(results: dict[str, CellResult]) -> str:
    """Say from the items themselves how far they reach."""
    finite = [result for result in results.values() if not result.diverged]
    if not finite:
        return "Every cell diverged: there is nothing to compare."
    spread = mean_interval(finite[-1].measure("accuracy"))
    return (
        f"**How little accuracy decides here:** {len(finite[-1].items):,} items fix one cell's mean accuracy only to"
        f" about ±{50 * (spread.high - spread.low):.1f} points, while the differences in question are a few"
        " points or less. Read perplexity and margin first."
    )


def _diverged(rows: list[Row]) -> list[str]:
    named = [
        f"{row.label} {row.cell.scheme or ''} ({row.n_diverged} of {len(row.keys)})" for row in rows if row.n_diverged
    ]
    return [f"Diverged, and left out of what is compared: {', '.join(named)}."] if named else []
