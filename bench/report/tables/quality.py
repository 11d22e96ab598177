"""Quality of every row: perplexity, accuracy by task, and the right choice's log-probability."""

from __future__ import annotations

from bench.analysis.recovery import mean_interval
from bench.analysis.rows import Measured
from bench.render.table import Table
from bench.report.sections import QUALITY, TableView
from bench.report.tables.columns import Naming, seeds_run, short, show_spread


def quality_table(measured: Measured) -> Table:
    """A row per row: perplexity, accuracy per task, their mean, and log-probability; the mean over seeds of each."""
    protocol, naming = measured.params.protocol, Naming(measured.params, seeds_run)
    tasks, texts = protocol.tasks, protocol.perplexity.texts
    body = []
    for row in measured.run:
        cells = [
            *(show_spread(row.perplexity(text), 2) for text in texts),
            *(show_spread(row.accuracy(task), 1, 100, deviation=False) for task in tasks),
            show_spread(row.mean_accuracy(), 2, 100),
            show_spread(row.mean_log_probability(), 3),
        ]
        body.append([*naming.of(row), *cells])
    of_texts = ["perplexity"] if len(texts) == 1 else [f"{text} ppl" for text in texts]
    headers = [*naming.headers, *of_texts, *map(short, tasks), "mean acc", "log-prob"]
    return Table(body, headers, left=len(naming.headers))


def how_far_accuracy_reaches(measured: Measured) -> str:
    """Say from the items themselves how precisely they determine an accuracy."""
    if not measured.results:
        return ""
    finite = [result for result in measured.results.values() if not result.diverged]
    if not finite:
        return "Every cell diverged: there is nothing to compare."
    spread = mean_interval(finite[-1].measure("accuracy"))
    return (
        f"**Accuracy decides little here:** {len(finite[-1].items):,} items determine one cell's mean accuracy"
        f" only to about ±{50 * (spread.high - spread.low):.1f} points. The differences in question are a few points or"
        " less. Read perplexity and log-prob first: the log-probability of the right choice among the choices, which"
        " moves also where an answer stays right or wrong."
    )


VIEW = TableView(QUALITY, quality_table, how_far_accuracy_reaches)
