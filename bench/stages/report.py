"""report: a suite's raw files, from the scores that are here, and its tables, plots and numbers, from its raw files."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.analysis.collect import collect
from bench.analysis.current import is_current
from bench.analysis.rows import Measured, measured
from bench.config.params import Params
from bench.preflight.words import few
from bench.render.pages import Part, html_page, markdown_page
from bench.report.arms import beside_placebos
from bench.report.numbers import cell_metrics, changed_csv, placebo_csv, quality_csv, recovered_csv, suite_metrics
from bench.report.page import page
from bench.report.plots.files import draw
from bench.report.pooled import pooled_row
from bench.report.tables import TABLES
from bench.store.checksums import seal
from bench.store.files import read_json, read_mapping, write_json
from bench.store.paths import CELLS, PAGE, PROVENANCE, REPLACED, TABLE, raw_folder, result_folder
from bench.store.raw import SUFFIX
from bench.store.stage_output import say
from swq.errors import UserError
from swq.files import atomic_folder, write_text

Foresee = Callable[[Params, list[str]], Sequence[Part]]


def report(params: Params, foresee: Foresee = lambda *_: ()) -> str:
    """Make results/SUITE: table.md, report.html, the tables as .tex, the plots as .png and .svg, the numbers
    as .csv and .json.

    Cells that were run here, with the current params.yaml, get their raw file first. Tables show the cells that have
    one, and the others as not run.

    Args:
        params: the suite.
        foresee: says what the cells of rows that were not run could decide (`bench/power`).

    Raises:
        UserError: no cell was run, and the folder holds results that an empty report would replace.
    """
    if moved := collect(params):
        say(f"measured again: {few(moved, 3)}; the raw files of before are now in {REPLACED / params.suite}")
    suite, made = measured(params), result_folder(params.suite)
    if not suite.results and (made / CELLS).is_file() and read_json(made / CELLS):
        raise UserError(
            f"no cell of suite {params.suite} was run here with the current params.yaml; the results in {made} are kept"
        )
    if gone := _gone(suite):
        say(f"cells of the report before have no raw file and now stand there as not run: {few(gone, 3)}")
    with atomic_folder(made) as folder:
        _keep_raw_files(suite, folder)
        _write_page(suite, folder, foresee)
        _write_numbers(suite, folder)
        seal(folder)
    missing = len(params.cells) - len(suite.results)
    some = f" ({missing} of {len(params.cells)} cells were not run)" if missing else ""
    return f"results of suite {params.suite} in {made}{some}"


def _gone(suite: Measured) -> list[str]:
    """Return the cells that the report of before shows and this one does not, though params.yaml is still theirs."""
    params = suite.params
    try:
        before = read_mapping(result_folder(params.suite) / PROVENANCE)
        left = {key: of for key, of in before.items() if key in params.cells and key not in suite.results}
        return [key for key, of in left.items() if is_current(params, key, of["reconstruct"], of["score"])]
    except (UserError, KeyError, TypeError, AttributeError):
        return []  # there is none, or it is damaged


def _keep_raw_files(suite: Measured, folder: Path) -> None:
    """Copy the raw files as they are, also those that the tables do not show, and name these."""
    before = raw_folder(suite.params.suite)
    files = [path for path in sorted(before.glob("*")) if path.is_file()]
    for path in files:
        (folder / before.name).mkdir(exist_ok=True)
        shutil.copy2(path, folder / before.name)
    others = [path.name for path in files if path.name.removesuffix(SUFFIX) not in suite.results]
    if others:
        say(f"{before} also holds what is not of a cell of params.yaml as it is now; it is kept: {few(others, 3)}")


def _write_page(suite: Measured, folder: Path, foresee: Foresee) -> None:
    tables = {name: view.build(suite) for name, view in TABLES.items()}
    not_run = [key for row in suite.rows if not row.results for key in row.keys]
    parts = page(suite, tables, draw(folder, suite), foresee(suite.params, not_run) if not_run else ())
    write_text(folder / TABLE, markdown_page(parts))
    write_text(folder / PAGE, html_page(f"Suite {suite.params.suite}", parts))
    for name, table in tables.items():
        if table.rows:
            write_text(folder / f"{name}.tex", table.latex())


def _write_numbers(suite: Measured, folder: Path) -> None:
    params, results, beside = suite.params, suite.results, list(beside_placebos(suite))
    texts = {
        "quality.csv": quality_csv(params, suite.rows),
        "recovered.csv": recovered_csv(suite.rows),
        "changed.csv": changed_csv(suite.rows),
        "placebo.csv": placebo_csv(beside),
    }
    for name, text in texts.items():
        if text:  # else nothing was compared yet, or no plan names placebos
            write_text(folder / name, text)
    write_json(folder / "metrics.json", suite_metrics(params, suite.run, pooled_row(suite), beside))
    write_json(folder / CELLS, {key: cell_metrics(params, results, key) for key in results})
    write_json(folder / PROVENANCE, {key: result.records for key, result in results.items()})
