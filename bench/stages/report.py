"""report: a suite's tables, plots and numbers, from the scores of its cells."""

from __future__ import annotations

from pathlib import Path

from bench.analysis.rows import Measured, measured
from bench.config.params import Params
from bench.render.pages import html_page, markdown_page
from bench.report.numbers import cell_metrics, changed_csv, quality_csv, recovered_csv, row_metrics
from bench.report.page import page
from bench.report.plots.files import draw
from bench.report.tables import TABLES
from bench.store.checksums import seal
from bench.store.files import read_json, write_json
from bench.store.paths import CELLS, PAGE, PROVENANCE, TABLE, result_folder
from swq.errors import UserError
from swq.files import atomic_folder, write_text


def report(params: Params) -> str:
    """Make results/SUITE: table.md, report.html, the tables as .tex, the plots as .png and .svg, the numbers
    as .csv and .json.

    Tables show cells that were not run as such.

    Raises:
        UserError: no cell was run, and the folder holds results that an empty report would replace.
    """
    suite, made = measured(params), result_folder(params.suite)
    if not suite.results and (made / CELLS).is_file() and read_json(made / CELLS):
        raise UserError(
            f"no cell of suite {params.suite} was run here with the current params.yaml; the results in {made} are kept"
        )
    with atomic_folder(made) as folder:
        _write_page(suite, folder)
        _write_numbers(suite, folder)
        seal(folder)
    missing = len(params.cells) - len(suite.results)
    some = f" ({missing} of {len(params.cells)} cells were not run)" if missing else ""
    return f"results of suite {params.suite} in {made}{some}"


def _write_page(suite: Measured, folder: Path) -> None:
    tables = {name: view.build(suite) for name, view in TABLES.items()}
    parts = page(suite, tables, draw(folder, suite))
    write_text(folder / TABLE, markdown_page(parts))
    write_text(folder / PAGE, html_page(f"Suite {suite.params.suite}", parts))
    for name, table in tables.items():
        if table.rows:
            write_text(folder / f"{name}.tex", table.latex())


def _write_numbers(suite: Measured, folder: Path) -> None:
    params, results = suite.params, suite.results
    texts = {
        "quality.csv": quality_csv(params, suite.rows),
        "recovered.csv": recovered_csv(suite.rows),
        "changed.csv": changed_csv(suite.rows),
    }
    for name, text in texts.items():
        if text:  # nothing was compared yet
            write_text(folder / name, text)
    write_json(folder / "metrics.json", {row.name: row_metrics(params, row) for row in suite.run})
    write_json(folder / CELLS, {key: cell_metrics(params, results, key) for key in results})
    write_json(folder / PROVENANCE, {key: result.records for key, result in results.items()})
