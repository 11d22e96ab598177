"""report: a suite's tables, plots and numbers, from the scores of its cells."""

from __future__ import annotations

from pathlib import Path

from bench import html
from bench.answers import answers
from bench.comparison import published_table
from bench.config import Params
from bench.metrics import cell_metrics, row_metrics
from bench.page import markdown_page, page
from bench.paths import result_folder
from bench.plots import draw
from bench.presence import presence_table
from bench.published import load_published
from bench.records import read_json, write_json
from bench.results import load_results
from bench.rows import rows
from bench.sources import HubModel
from bench.tables import changes_table, quality_table, recovery_table
from bench.tidy import changed_csv, quality_csv, recovered_csv
from bench.windows import broken_windows
from swq.errors import UserError
from swq.files import atomic_folder, write_text

TABLE = "table.md"


def report(params: Params) -> str:
    """Make results/SUITE: table.md, report.html, the tables as .tex, the plots as .png and .svg, the numbers
    as .csv and .json.

    Cells that were not run stand in the tables as such.

    Raises:
        UserError: no cell was run, and the folder holds results that an empty report would replace.
    """
    results = load_results(params)
    made = result_folder(params.suite)
    if not results and (made / "cells.json").is_file() and read_json(made / "cells.json"):
        raise UserError(
            f"no cell of suite {params.suite} was run here as params.yaml says now, and {made} holds results: they stay"
        )
    found = rows(params, results)
    tables = {
        "answers": answers(params, found),
        "quality": quality_table(params, found),
        "windows": broken_windows(params, results, found),
        "recovered": recovery_table(params, found),
        "changed": changes_table(params, found),
        "presence": presence_table(params, found),
    }
    on_the_hub = any(isinstance(source, HubModel) for source in params.models.values())
    published = published_table(params, found, load_published()) if on_the_hub else []
    with atomic_folder(made) as folder:
        parts = page(params, results, found, tables, draw(folder, params, found), published)
        write_text(folder / TABLE, markdown_page(parts))
        write_text(folder / "report.html", html.page(f"Suite {params.suite}", parts))
        texts = {f"{name}.tex": table.latex() for name, table in tables.items() if table.rows}
        texts |= {"quality.csv": quality_csv(params, found)}
        texts |= {"recovered.csv": recovered_csv(found), "changed.csv": changed_csv(found)}
        for name, text in texts.items():
            if text:  # nothing was compared yet
                write_text(folder / name, text)
        write_json(folder / "metrics.json", {row.name: row_metrics(params, row) for row in found if row.results})
        write_json(folder / "cells.json", {key: cell_metrics(params, results, key) for key in results})
        write_json(folder / "provenance.json", {key: result.records for key, result in results.items()})
    missing = len(params.cells) - len(results)
    some = f" ({missing} of {len(params.cells)} cells were not run)" if missing else ""
    return f"results of suite {params.suite} in {made}{some}"


def show(params: Params) -> str:
    """Return the suite's page and where it lies."""
    path: Path = result_folder(params.suite) / TABLE
    if not path.is_file():
        raise UserError(f"there is no {path} yet; `dvc repro` makes it")
    return f"{path.read_text(encoding='utf-8')}\nThe tables lie in {path}, plots and numbers beside it."
