"""Commands about results: others' files, the paper's claims, what failed, and the page over all suites."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bench.config.params import load_params
from bench.store.failures import failures as failed_stages
from bench.store.locks import held
from swq.errors import UserError


class DType(StrEnum):
    """The dtypes that an exported folder can have."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


def import_results(paths: Annotated[list[Path], typer.Argument(help="Raw files, or folders of raw files.")]) -> None:
    """Take in others' raw files of this suite.

    A file of another protocol, model or recipe is refused, and none replaces another. `report` then renders all."""
    from bench.runs.import_raw import import_raw

    params = load_params()
    with held(f"report@{params.suite}", f"the report of {params.suite}", wait=True):
        said, refused = import_raw(params, paths)
    for line in said:
        typer.echo(line)
    if refused:
        for line in refused:
            typer.echo(f"refused: {line}", err=True)
        raise UserError(f"{len(refused)} of {len(said) + len(refused)} files were refused")
    typer.echo("`python -m bench report` renders them")


def export(
    cell: Annotated[str, typer.Argument(help="Key of a cell that was run here.")],
    out: Annotated[Path, typer.Option(help="The folder to write; must not be there yet, or be empty.")],
    packed: Annotated[bool, typer.Option("--packed", help="Store packed codes (compressed-tensors).")] = False,
    dtype: Annotated[DType | None, typer.Option(help="Of the files; the model's own by default.")] = None,
) -> None:
    """Write a cell's quantized model as a Hugging Face folder, which opens without this project."""
    from bench.runs.export import export_cell

    typer.echo(export_cell(load_params(), cell, out, packed, None if dtype is None else dtype.value))


def verify(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a page.")] = False,
) -> None:
    """Compare the suite's results with the paper's claims. Exit status 0: all are supported or exceeded; 3: at least
    one is still open, below five seeds too; 4: at least one is contradicted or smaller than claimed; 5: none is, but at
    least one was measured under a different protocol; 1 and 2: a mistake in a file or on the command line."""
    from bench.published import verify as claims

    params = load_params()
    findings, page, status = claims.verify(params)
    if params.plan and not as_json:
        from bench.analysis.rows import measured
        from bench.report.plan import as_planned

        page = "\n\n".join([*as_planned(measured(params)), page])
    typer.echo(json.dumps(claims.as_json(findings), indent=2) if as_json else page)
    raise typer.Exit(status)


def published() -> None:
    """List contradictions among published figures.

    They are those of conf/published.yaml, which results are compared with."""
    from bench.published.contradictions import contradictions_page
    from bench.published.figures import load_published

    typer.echo(contradictions_page(load_published()))


def failures() -> None:
    """List the stages that failed last, and why."""
    lines = [f"{stage} failed: {reason}" for stage, reason in failed_stages().items()]
    typer.echo("\n".join(lines) or "no stage has failed")


def index() -> None:
    """Write results/README.md and results/index.html from the results of all suites."""
    from bench.runs.index import write_index

    typer.echo(write_index())
