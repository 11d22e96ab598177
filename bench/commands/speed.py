"""The command that measures speed and memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from bench.config.params import load_params


def speed(
    tokens: Annotated[list[int] | None, typer.Option(help="Length of a sample; give it several times.")] = None,
    hidden: Annotated[int, typer.Option(help="The block's width. The default shapes are SmolLM2-135M's.")] = 576,
    intermediate: Annotated[int, typer.Option(help="Width of its MLP.")] = 1536,
    heads: Annotated[int, typer.Option(help="Attention heads.")] = 9,
    kv_heads: Annotated[int, typer.Option(help="Heads of keys and values; OPT has as many as heads.")] = 3,
    family: Annotated[str, typer.Option(help="A model_type that swq/models lists, such as llama or opt.")] = "llama",
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
