"""The command line: `python -m bench --help`. Each stage of dvc.yaml is one command here."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from bench.config import Params, load_params
from bench.paths import FAILURES
from swq.errors import UserError, one_of

app = typer.Typer(
    name="python -m bench",
    help="Benchmark of quantization methods with and without the sliced-Wasserstein loss. `dvc repro` runs the stages"
    " below in order and only where something changed; each reads params.yaml in the current folder.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
Model = Annotated[str | None, typer.Option(help="Only cells of this model.")]
Scheme = Annotated[str | None, typer.Option(help="Only cells of this scheme, and full precision.")]
Key = Annotated[str, typer.Argument(help="A key of the section in params.yaml.")]


def _run(stage: Callable[[Params, str], str], section: str, key: str) -> None:
    params = load_params()
    known = getattr(params, section)
    if key not in known:
        raise UserError(one_of(f"key in {section}", key, known))
    typer.echo(stage(params, key))


@app.command()
def fetch_model(key: Key) -> None:
    """Fetch a model and write down its hashes."""
    from bench.stages.fetch import fetch_model as stage

    _run(stage, "models", key)


@app.command()
def fetch_corpus(key: Key) -> None:
    """Fetch texts and tasks, and remove calibration passages that overlap with anything scored."""
    from bench.stages.fetch import fetch_corpus as stage

    _run(stage, "corpora", key)


@app.command()
def calibrate(key: Key) -> None:
    """Choose and tokenize calibration samples."""
    from bench.stages.calibrate import calibrate as stage

    _run(stage, "calibrations", key)


@app.command()
def train_model(key: Key) -> None:
    """Train a small OPT on a corpus's training text. A killed run goes on where it stopped."""
    from bench.stages.train import train_model as stage

    _run(stage, "trainings", key)


@app.command()
def reconstruct(key: Key) -> None:
    """Quantize a cell's model block by block. A killed run goes on where it stopped."""
    from bench.stages.reconstruct import reconstruct as stage

    _run(stage, "cells", key)


@app.command()
def score(key: Key) -> None:
    """Score a cell: tasks by lm-eval, perplexity on windows of text."""
    from bench.stages.score import score as stage

    _run(stage, "cells", key)


@app.command()
def report() -> None:
    """Render the suite's tables and plots from the scores."""
    from bench.stages.report import report as stage

    typer.echo(stage(load_params()))


@app.command()
def show() -> None:
    """Print the suite's table and say where it lies."""
    from bench.stages.report import show as stage

    typer.echo(stage(load_params()))


@app.command()
def compose(
    suite: Annotated[str, typer.Argument(help="A file in conf/suite, without .yaml.")],
    settings: Annotated[
        list[str] | None, typer.Argument(help="Settings to put over it, such as protocol.limit=50 (Hydra's syntax).")
    ] = None,
    force: Annotated[bool, typer.Option(help="Replace params.yaml even if it was edited by hand.")] = False,
) -> None:
    """Compose params.yaml from conf/ for a suite."""
    from bench.compose import compose as run

    typer.echo(run(suite, settings or [], force))


@app.command()
def check() -> None:
    """Validate params.yaml, so that a mistake costs seconds and not hours."""
    from bench.stages.check import check as run

    typer.echo(run(load_params()))


@app.command()
def estimate(
    model: Model = None,
    scheme: Scheme = None,
    gpu_gib: Annotated[float, typer.Option(min=1, help="Memory of the GPU, in GiB.")] = 80,
) -> None:
    """Say what the suite, or a slice of it, will cost: GPU hours, memory, disk."""
    from bench.costs import Rates
    from bench.estimate import estimate as calculate
    from bench.slices import select

    params = load_params()
    typer.echo(calculate(params, select(params, model, scheme), Rates(capacity=gpu_gib * 2**30)))


@app.command()
def verify(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a page.")] = False,
) -> None:
    """Hold the suite's results against the paper's claims. Exit status 0: nothing speaks against them; 3: something
    is still open; 4: something speaks against one; 1 and 2 are mistakes in a file or on the command line."""
    import json

    from bench.stages import verify as stage

    findings, page, status = stage.verify(load_params())
    typer.echo(json.dumps(stage.as_json(findings), indent=2) if as_json else page)
    raise typer.Exit(status)


@app.command()
def published() -> None:
    """List where the published figures that results are held against contradict each other."""
    from bench.contradictions import contradictions_page
    from bench.published import load_published

    typer.echo(contradictions_page(load_published()))


@app.command()
def run(
    model: Model = None,
    scheme: Scheme = None,
    jobs: Annotated[int, typer.Option(min=1, help="Cells at a time; each takes a GPU of its own if there are.")] = 1,
) -> None:
    """Run a slice of the suite with DVC, render the report and print it. Cells outside the slice stay as they are."""
    from bench.slices import run as run_slice
    from bench.slices import select
    from bench.stages.check import check as validate
    from bench.stages.report import show as stage

    params = load_params()
    keys = select(params, model, scheme)
    typer.echo(validate(params, keys))
    run_slice(params, keys, jobs)
    typer.echo(stage(params))


@app.command()
def failures() -> None:
    """List the stages that failed and have not succeeded since, and why."""
    for path in sorted(FAILURES.glob("*")):
        typer.echo(f"{path.name} failed: {path.read_text(encoding='utf-8')}")


def main() -> None:
    """Run the command line; a user's mistake ends in one line and exit status 1."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    try:
        app()
    except SystemExit as stop:
        if not stop.code:
            _note_failure(None)
        raise
    except UserError as error:
        _note_failure(str(error))
        sys.exit(f"error: {error}")
    except Exception as error:
        _note_failure(f"{type(error).__name__}: {error}")
        raise


def _note_failure(reason: str | None) -> None:
    """Keep why a stage of the pipeline failed, to be repeated after the others' output; None: it succeeded."""
    stage = os.environ.get("DVC_STAGE")  # set by DVC for the commands it runs
    if stage is None:
        return
    note = FAILURES / stage
    if reason is None:
        note.unlink(missing_ok=True)
    else:
        note.parent.mkdir(exist_ok=True)
        note.write_text(reason, encoding="utf-8")


if __name__ == "__main__":
    main()
