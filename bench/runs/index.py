"""results/README.md and results/index.html: what every suite answers, where its pages are, and how it was made."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

from bench.analysis.recovery import MIN_SEEDS, Interval, Recovery
from bench.config.strict import parse_yaml
from bench.render.pages import Part, html_page, markdown_page
from bench.render.table import Table
from bench.report.tables.answers import effect
from bench.store.files import read_mapping
from bench.store.paths import PAGE, PROVENANCE, TABLE, raw_folder, result_folder
from swq.errors import UserError
from swq.files import write_text

RESULTS = Path("results")
MADE_BY = RESULTS / "made_by.yaml"
MEASURES = {"log_perplexity": "log-perplexity", "log_perplexity_median": "log-perplexity", "accuracy": "accuracy"}
WITH_SW = " + SW"
TITLE = "Results"
INTRODUCTION = (
    "One folder a suite, with its page, its tables, its plots and its numbers"
    " ([what is what](../docs/reading-a-report.md)). Each answer below is one row with SW, compared with the same row"
    f" without SW. *Helps*, *hurts* and *open* are answers over {MIN_SEEDS} seeds or more. *Provisional* ones have"
    " fewer: their intervals do not cover how far two trainings drift apart by chance, so they decide nothing."
    " *Pooled* is one answer over all rows that the suite's plan named for it."
)
CLOSING = (
    "`python -m bench verify` compares a suite with the [paper's claims](../docs/claims.md). None of the paper's own"
    " models has been run yet, so no claim is supported or contradicted here. `python -m bench compose SUITE &&"
    " python -m bench report` makes everything else from a suite's raw files."
    " Commit is that of the code which measured."
)


def write_index() -> str:
    """Write both files from the suites' files of numbers.

    Raises:
        UserError: a suite of made_by.yaml has no results, or they are damaged.
    """
    commands = parse_yaml(MADE_BY.read_text(encoding="utf-8"), str(MADE_BY))
    if not isinstance(commands, dict):
        raise UserError(f"{MADE_BY} must be a mapping of suites to commands")
    for name, page_of, render in (("README.md", TABLE, markdown_page), ("index.html", PAGE, _html)):
        write_text(RESULTS / name, render(_parts(commands, page_of)))
    return f"{RESULTS / 'README.md'} and {RESULTS / 'index.html'} are about {len(commands)} suites"


def _html(parts: list[Part]) -> str:
    return html_page(TITLE, parts)


def _parts(commands: dict[str, str | None], page: str) -> list[Part]:
    """Return the page; `page` is the file of a suite that its name links to."""
    headers = ["suite", *(f"SW on {called}" for called in dict.fromkeys(MEASURES.values())), "cells", "raw", "commit"]
    answers = Table([_line(suite, page) for suite in commands], headers, left=3)
    made = [[suite, f"`{command}`" if command else "not run yet"] for suite, command in commands.items()]
    return [f"# {TITLE}", INTRODUCTION, answers, CLOSING, "## How they were made", Table(made, ["suite", "command"], 2)]


def _line(suite: str, page: str) -> list[str]:
    folder = result_folder(suite)
    records = read_mapping(folder / PROVENANCE)
    commits = {str(of["score"]["provenance"]["git_commit"] or "")[:7] for of in records.values()}
    words = _words(folder / "recovered.csv")
    pooled = _pooled(folder / "metrics.json", suite)
    answers = [
        _said(words.get(called, Counter()), pooled.get(called, [])) for called in dict.fromkeys(MEASURES.values())
    ]
    n_raw = len(list(raw_folder(suite).glob("*")))
    return [f"[{suite}]({suite}/{page})", *answers, str(len(records)), str(n_raw), ", ".join(sorted(commits))]


def _words(path: Path) -> dict[str, Counter[str]]:
    """Return how often each answer was given, by measure."""
    found: dict[str, Counter[str]] = {}
    if not path.is_file():
        return found  # nothing was compared
    with path.open(newline="", encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            if WITH_SW in row["cell"] and WITH_SW not in row["base"] and row["measure"] in MEASURES:
                recovered = _recovered(row)
                word = effect(recovered) if recovered.n_seeds >= MIN_SEEDS else "provisional"
                found.setdefault(MEASURES[row["measure"]], Counter())[word] += 1
    return found


def _pooled(path: Path, suite: str) -> dict[str, list[str]]:
    """Return what the arms that the suite's plan pools say together, by measure; empty where nothing is pooled."""
    found: dict[str, list[str]] = {}
    pooled = read_mapping(path).get(f"{suite}-pooled")
    if pooled is None:
        return found
    beyond = {f"beyond {placebo}": answered for placebo, answered in pooled.get("beyond_placebo", {}).items()}
    for beside, answered in ({"pooled": pooled} | beyond).items():
        for measure, word in answered["answers"].items():
            if measure in MEASURES:
                decided = word if answered["seeds"] >= MIN_SEEDS else "provisional"
                found.setdefault(MEASURES[measure], []).append(f"{beside}: {decided}")
    return found


def _recovered(row: dict[str, Any]) -> Recovery:
    def interval(name: str) -> Interval | None:
        ends = [row[name], row[f"{name}_low"], row[f"{name}_high"]]
        return Interval(*map(float, ends)) if all(ends) else None

    lost, gained = interval("lost"), interval("gained")
    assert lost is not None and gained is not None
    n_items, n_seeds = int(row["n_items"]), int(row["n_seeds"])
    return Recovery(lost, gained, interval("share"), row["withheld"] or None, n_items, n_seeds)


def _said(words: Counter[str], pooled: list[str]) -> str:
    said = ", ".join(f"{count} {word}" for word, count in sorted(words.items())) or "not compared"
    return "; ".join([said, *pooled])
