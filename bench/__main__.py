"""The command line: `python -m bench --help`. Each stage of dvc.yaml is one command here."""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from bench.config.params import load_params
from bench.imports import importing
from bench.store.failures import failures as failed_stages
from bench.store.failures import note_failure, note_success
from bench.store.locks import held
from bench.store.stage_output import quiet_under_dvc
from swq.errors import UserError, one_of

app = typer.Typer(
    name="python -m bench",
    help="Benchmark of quantization methods with and without the sliced-Wasserstein loss. `run` runs the suite in"
    " params.yaml and shows its progress. `dvc repro` runs the same stages, which are commands here too.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
RUN = "run"  # the lock of whatever needs the folder for itself
Model = Annotated[str | None, typer.Option(help="Only cells of this model.")]
Scheme = Annotated[str | None, typer.Option(help="Only cells of this scheme, and full precision.")]
Key = Annotated[str, typer.Argument(help="A key of this stage's section in params.yaml.")]
Jobs = Annotated[int, typer.Option(min=1, help="Cells to run at a time. With several GPUs, each gets its own.")]


@contextmanager
def _in_turn(stage: str, what: str) -> Iterator[None]:
    """Wait until no other process makes the same, and look at what DVC has stored of the stages before."""
    from bench.runs.leftovers import keep_lock
    from bench.store.sweep import sweep

    with held(stage, what, wait=True):
        keep_lock()
        sweep()
        yield


def _run_stage(module: str, function: str, section: str, key: str) -> None:
    """Run a stage and print its closing line. It is imported here, so that its libraries' messages go to its log."""
    with quiet_under_dvc():
        params = load_params()
        known = getattr(params, section)
        if key not in known:
            raise UserError(one_of(f"key in {section}", key, known))
        stage = f"{function.replace('_', '-')}@{key}"
        with _in_turn(stage, stage):
            with importing():
                run_stage = getattr(importlib.import_module(f"bench.stages.{module}"), function)
            closing = run_stage(params, key)
    typer.echo(closing)


@app.command()
def compose(
    suite: Annotated[str, typer.Argument(help="A file in conf/suite, without .yaml.")],
    settings: Annotated[
        list[str] | None, typer.Argument(help="Settings that override it, such as protocol.limit=50 (Hydra's syntax).")
    ] = None,
    force: Annotated[bool, typer.Option(help="Replace params.yaml even if it was edited by hand.")] = False,
) -> None:
    """Compose params.yaml from conf/ for a suite."""
    from bench.config.compose import compose as write_params

    with held(RUN, "a run, which reads params.yaml as it goes,", wait=False):
        typer.echo(write_params(suite, settings or [], force))


@app.command()
def check() -> None:
    """Validate params.yaml in seconds.

    It says too where conf/ has changed since params.yaml was composed."""
    from bench.preflight.check import check as validate

    typer.echo(validate(load_params()))


@app.command()
def estimate(
    model: Model = None,
    scheme: Scheme = None,
    gpu_gib: Annotated[float, typer.Option(min=1, help="Memory of the GPU, in GiB.")] = 80,
) -> None:
    """Estimate GPU hours, memory and disk of the suite or a slice."""
    from bench.preflight.estimate import estimate as calculate
    from bench.preflight.seconds import Rates
    from bench.runs.slices import select

    params = load_params()
    typer.echo(calculate(params, select(params, model, scheme), Rates(capacity=gpu_gib * 2**30)))


@app.command()
def power(
    model: Model = None,
    scheme: Scheme = None,
    half_width: Annotated[float, typer.Option(help="Wanted half-width of a share, in %.")] = 2,
    effect: Annotated[float, typer.Option(help="A true share that is to be told from 0, in %.")] = 5,
    bound: Annotated[float, typer.Option(help="Bound of equivalence: the interval lies inside ± this, in %.")] = 2,
    chance: Annotated[float, typer.Option(help="Wanted chance to conclude either, as a fraction.")] = 0.8,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a page.")] = False,
) -> None:
    """Say what the suite or a slice can decide, before it runs: half-widths, seeds and hours, claim by claim.

    It needs no network. Variances are those of results/."""
    from bench.power import page
    from bench.power.plan import Wanted, plan
    from bench.runs.slices import select

    params = load_params()
    found = plan(params, select(params, model, scheme), Wanted(half_width, effect, bound, chance))
    typer.echo(json.dumps(page.as_json(found), indent=2) if as_json else page.page(found))


@app.command()
def run(
    model: Model = None,
    scheme: Scheme = None,
    jobs: Jobs = 1,
    missing: Annotated[bool, typer.Option("--missing", help="Only cells without a raw file.")] = False,
) -> None:
    """Run the suite or a slice, and print its tables.

    The suite is that of params.yaml, which is checked first. A killed run continues where it stopped. Cells outside
    the slice are not changed."""
    from bench.preflight.check import check as validate
    from bench.runs.console import Console
    from bench.runs.run import run as run_cells
    from bench.runs.show import show as tables
    from bench.runs.slices import select

    params = load_params()
    keys = select(params, model, scheme)
    if missing:
        from bench.analysis.results import load_results

        done = load_results(params)
        keys = [key for key in keys if key not in done]
        if not keys:
            typer.echo("every cell has its raw file; `python -m bench report` renders them")
            return
    typer.echo(validate(params, keys))
    try:
        with held(RUN, "a run in this folder", wait=False):
            closing = run_cells(params, keys, jobs, Console())
    except KeyboardInterrupt:
        typer.echo("\nstopped; the same command continues where it stopped", err=True)
        raise typer.Exit(130) from None
    typer.echo(f"{tables(params)}\n\n{closing}")


@app.command()
def show() -> None:
    """Print the suite's main tables and say where the rest is."""
    from bench.runs.show import show as tables

    typer.echo(tables(load_params()))


@app.command("import")
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
        raise UserError(f"{len(refused)} of {len(said) + len(refused)} files were refused: {'; '.join(refused)}")
    typer.echo("`python -m bench report` renders them")


@app.command()
def verify(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a page.")] = False,
) -> None:
    """Compare the suite's results with the paper's claims. Exit status 0: all are supported or exceeded; 3: at least
    one is still open, below five seeds too; 4: at least one is contradicted or smaller than claimed; 5: none is, but at
    least one was measured under a different protocol; 1 and 2: a mistake in a file or on the command line."""
    from bench.published import verify as claims

    findings, page, status = claims.verify(load_params())
    typer.echo(json.dumps(claims.as_json(findings), indent=2) if as_json else page)
    raise typer.Exit(status)


@app.command()
def published() -> None:
    """List contradictions among published figures.

    They are those of conf/published.yaml, which results are compared with."""
    from bench.published.contradictions import contradictions_page
    from bench.published.figures import load_published

    typer.echo(contradictions_page(load_published()))


@app.command()
def failures() -> None:
    """List the stages that failed last, and why."""
    lines = [f"{stage} failed: {reason}" for stage, reason in failed_stages().items()]
    typer.echo("\n".join(lines) or "no stage has failed")


@app.command()
def speed(
    tokens: Annotated[list[int] | None, typer.Option(help="Length of a sample; give it several times.")] = None,
    hidden: Annotated[int, typer.Option(help="The block's width. The default shapes are SmolLM2-135M's.")] = 576,
    intermediate: Annotated[int, typer.Option(help="Width of its MLP.")] = 1536,
    heads: Annotated[int, typer.Option(help="Attention heads.")] = 9,
    kv_heads: Annotated[int, typer.Option(help="Heads of keys and values; OPT has as many as heads.")] = 3,
    family: Annotated[str, typer.Option(help="llama, mistral, qwen2, qwen3 or opt.")] = "llama",
    scheme: Annotated[str, typer.Option(help="Bits and group size.")] = "w3a16g64",
    repeats: Annotated[int, typer.Option(help="Rounds that count.")] = 7,
    only: Annotated[str | None, typer.Option(help="step, sw, scoring or memory.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write all numbers here.")] = None,
) -> None:
    """Measure speed and memory against references.

    The references are in the repository: for training, a plain loop, and the block's matrix products alone; for
    scoring, lm-eval's own language model. All are measured in turns. Device and threads are those of params.yaml.
    All of it takes a quarter of an hour on 2 cores."""
    for name, value in (("HF_HUB_OFFLINE", "1"), ("TOKENIZERS_PARALLELISM", "false")):
        os.environ.setdefault(name, value)  # as the stage `score` does, before libraries read them
    from bench.speed.run import Request
    from bench.speed.run import speed as measure
    from bench.speed.subject import Shapes
    from swq.quant.scheme import Scheme as Bits

    shapes = Shapes(hidden, intermediate, heads, kv_heads, family)
    request = Request(shapes, Bits.parse(scheme), tokens or [128, 256, 512, 2048], repeats, only, json_file)
    typer.echo(measure(load_params(), request))


@app.command()
def validate() -> None:
    """Validate params.yaml by itself, as the first stage of the pipeline. `check` looks at models and presets too."""
    with quiet_under_dvc():
        from bench.stages.validate import validate as note_valid

        closing = note_valid(load_params())
    typer.echo(closing)


@app.command()
def fetch_model(key: Key) -> None:
    """Fetch a model and record its hashes."""
    _run_stage("fetch", "fetch_model", "models", key)


@app.command()
def train_model(key: Key) -> None:
    """Train a small OPT on a corpus's training text. A killed run continues where it stopped."""
    _run_stage("train", "train_model", "trainings", key)


@app.command()
def fetch_corpus(key: Key) -> None:
    """Fetch texts and tasks.

    Calibration passages that overlap with anything scored are removed."""
    _run_stage("fetch", "fetch_corpus", "corpora", key)


@app.command()
def calibrate(key: Key) -> None:
    """Choose and tokenize calibration samples."""
    _run_stage("calibrate", "calibrate", "calibrations", key)


@app.command()
def reconstruct(key: Key) -> None:
    """Quantize a cell's model block by block. A killed run continues where it stopped."""
    _run_stage("reconstruct", "reconstruct", "cells", key)


@app.command()
def compare(key: Key) -> None:
    """Count the codes in which a cell differs from its base."""
    _run_stage("compare", "compare", "cells", key)


@app.command()
def score(key: Key) -> None:
    """Score a cell on tasks and text."""
    _run_stage("score", "score", "cells", key)


@app.command()
def report() -> None:
    """Render the suite's tables and plots.

    Cells that were run here get their raw file first. Then everything is made from the raw files alone."""
    with quiet_under_dvc():
        with importing():
            from bench.stages.report import report as render

        params = load_params()
        with _in_turn(f"report@{params.suite}", f"the report of {params.suite}"):
            closing = render(params)
    typer.echo(closing)


@app.command()
def index() -> None:
    """Write results/README.md and results/index.html from the results of all suites."""
    from bench.runs.index import write_index

    typer.echo(write_index())


def main() -> None:
    """Run the command line; a user's mistake ends in one line and exit status 1."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    stage = os.environ.get("DVC_STAGE")  # set by DVC for the commands it runs
    try:
        app()
    except SystemExit as stop:
        if stage and not stop.code:
            note_success(stage)
        raise
    except UserError as error:
        if stage:
            note_failure(stage, str(error))
        sys.exit(f"error: {error}")
    except Exception as error:
        if stage:
            note_failure(stage, f"{type(error).__name__}: {error}")
        raise


if __name__ == "__main__":
    main()
