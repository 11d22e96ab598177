"""Commands about the suite in params.yaml: what it is, what it asks for, and running it."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from bench.commands.options import RUN, Cells, Method, Model, Scheme, Seed
from bench.config.params import load_params
from bench.store.locks import held

Jobs = Annotated[int, typer.Option(min=1, help="Cells to run at a time. With several GPUs, each gets its own.")]


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


def check() -> None:
    """Validate params.yaml in seconds.

    It says too where conf/ has changed since params.yaml was composed."""
    from bench.preflight.check import check as validate

    typer.echo(validate(load_params()))


def estimate(
    model: Model = None,
    scheme: Scheme = None,
    method: Method = None,
    seed: Seed = None,
    cell: Cells = None,
    gpu_gib: Annotated[float, typer.Option(min=1, help="Memory of the GPU, in GiB.")] = 80,
) -> None:
    """Estimate GPU hours, memory and disk of the suite or a slice."""
    from bench.preflight.estimate import estimate as calculate
    from bench.preflight.seconds import Rates
    from bench.runs.slices import Slice, select

    params = load_params()
    keys = select(params, Slice(model, scheme, method, seed, cell or ()))
    typer.echo(calculate(params, keys, Rates(capacity=gpu_gib * 2**30)))


def power(
    model: Model = None,
    scheme: Scheme = None,
    method: Method = None,
    seed: Seed = None,
    cell: Cells = None,
    half_width: Annotated[float, typer.Option(help="Wanted half-width of a share, in %.")] = 2,
    effect: Annotated[float, typer.Option(help="A true share that is to be told from 0, in %.")] = 5,
    bound: Annotated[
        float | None, typer.Option(help="The interval lies inside ± this, in %: the plan's bound, or 2 without a plan.")
    ] = None,
    chance: Annotated[float, typer.Option(help="Wanted chance to conclude either, as a fraction.")] = 0.8,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a page.")] = False,
) -> None:
    """Say what the suite or a slice can decide, before it runs: half-widths, seeds and hours, claim by claim.

    It needs no network. Variances are those of results/."""
    from bench.power import page
    from bench.power.plan import Wanted, bound_of, plan
    from bench.runs.slices import Slice, select

    params = load_params()
    keys = select(params, Slice(model, scheme, method, seed, cell or ()))
    found = plan(params, keys, Wanted(half_width, effect, bound_of(params) if bound is None else bound, chance))
    typer.echo(json.dumps(page.as_json(found), indent=2) if as_json else page.page(found))


def run(
    model: Model = None,
    scheme: Scheme = None,
    method: Method = None,
    seed: Seed = None,
    cell: Cells = None,
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
    from bench.runs.slices import Slice, select

    params = load_params()
    keys = select(params, Slice(model, scheme, method, seed, cell or ()))
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


def show() -> None:
    """Print the suite's main tables and say where the rest is."""
    from bench.runs.show import show as tables

    typer.echo(tables(load_params()))
