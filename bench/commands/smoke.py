"""The command that checks a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.config.params import load_params


def smoke_gpu(
    json_file: Annotated[Path, typer.Option("--json", help="Where all numbers are written.")] = Path("smoke-gpu.json"),
    cpu: Annotated[bool, typer.Option("--cpu", help="Check the processor instead, without 16-mixed.")] = False,
    tokens: Annotated[int, typer.Option(help="Length of a sample.")] = 2048,
    hidden: Annotated[int, typer.Option(help="The block's width. The default shapes are LLaMA-2-7B's.")] = 4096,
    intermediate: Annotated[int, typer.Option(help="Width of its MLP.")] = 11008,
    heads: Annotated[int, typer.Option(help="Attention heads.")] = 32,
    kv_heads: Annotated[int, typer.Option(help="Heads of keys and values.")] = 32,
) -> None:
    """Check that everything works on this machine's GPU, in minutes and without a hub.

    It replays the recorded runs of the authors' code, reconstructs a block of LLaMA-2-7B's shapes by every method in
    every precision, takes times and memory, and scores the bundled model beside the committed numbers of a CPU, if
    `make repro` has fetched it. Exit status 1: something failed. Please send the JSON file in."""
    from bench.smoke.run import Request, smoke
    from bench.speed.subject import Shapes

    request = Request(json_file, cpu, Shapes(hidden, intermediate, heads, kv_heads), tokens)
    found = smoke(load_params(), request)
    typer.echo(f"{found.page()}\n\nAll numbers are in {json_file}.")
    raise typer.Exit(1 if found.failed else 0)
