"""report: a suite's tables, plots and numbers, from the scores of its cells."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import html
from bench.comparison import published_table
from bench.config import Params
from bench.paths import result_folder
from bench.plots import plot_losses, plot_recovered
from bench.published import load_published
from bench.records import write_json
from bench.results import CellResult, load_results, recoveries, seed_recoveries
from bench.sources import HubModel
from bench.statistics import Recovery
from bench.tables import markdown_page, page, quality_table, recovery_table
from swq.errors import UserError
from swq.files import atomic_folder, write_text

TABLE = "table.md"


def report(params: Params) -> str:
    """Make results/SUITE: table.md, report.html, the tables as .csv and .tex, the plots as .png and .svg, metrics.json
    and provenance.json.

    Cells that were not run stand in the tables as such.
    """
    results = load_results(params)
    recovered = recoveries(params, results)
    over_seeds = seed_recoveries(params, results, recovered)
    on_the_hub = any(isinstance(source, HubModel) for source in params.models.values())
    published = published_table(params, results, load_published()) if on_the_hub else []
    parts = page(params, results, recovered, over_seeds, published)
    tables = {"quality": quality_table(params, results), "recovered": recovery_table(params, results, recovered)}
    metrics = {key: _metrics(result, recovered.get(key)) for key, result in results.items()}
    with atomic_folder(result_folder(params.suite)) as folder:
        write_text(folder / TABLE, markdown_page(parts))
        for name, table in tables.items():
            write_text(folder / f"{name}.csv", table.csv())
            write_text(folder / f"{name}.tex", table.latex())
        write_json(folder / "metrics.json", metrics)
        write_json(folder / "provenance.json", {key: result.records for key, result in results.items()})
        if results:
            plot_recovered(folder / "recovered.png", params, results, recovered)
            plot_losses(folder / "losses.png", params, results)
        write_text(folder / "report.html", html.page(f"Suite {params.suite}", parts, sorted(folder.glob("*.png"))))
    return f"results of suite {params.suite} in {result_folder(params.suite)}"


def show(params: Params) -> str:
    """Return the suite's page and where it lies."""
    path: Path = result_folder(params.suite) / TABLE
    if not path.is_file():
        raise UserError(f"there is no {path} yet; `dvc repro` makes it")
    return f"{path.read_text(encoding='utf-8')}\nThe tables lie in {path}, plots and numbers beside it."


def _metrics(result: CellResult, recovered: dict[str, Recovery] | None) -> dict[str, Any]:
    return result.summary | {
        "mean_accuracy": result.mean_accuracy,
        "mean_margin": result.mean_margin,
        "bits_per_weight": result.bits_per_weight,
        "recovered": {measure: asdict(value) for measure, value in recovered.items()} if recovered else None,
    }
