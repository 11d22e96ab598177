"""Each stage of dvc.yaml as a command."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from bench.config.params import load_params
from bench.imports import importing
from bench.store.locks import held
from bench.store.stage_output import quiet_under_dvc
from swq.errors import UserError, one_of

Key = Annotated[str, typer.Argument(help="A key of this stage's section in params.yaml.")]


def validate() -> None:
    """Validate params.yaml by itself, as the first stage of the pipeline. `check` looks at models and presets too."""
    with quiet_under_dvc():
        from bench.stages.validate import validate as note_valid

        closing = note_valid(load_params())
    typer.echo(closing)


def fetch_model(key: Key) -> None:
    """Fetch a model and record its hashes."""
    _run_stage("fetch", "fetch_model", "models", key)


def train_model(key: Key) -> None:
    """Train a small OPT on a corpus's training text. A killed run continues where it stopped."""
    _run_stage("train", "train_model", "trainings", key)


def fetch_corpus(key: Key) -> None:
    """Fetch texts and tasks.

    Calibration passages that overlap with anything scored are removed."""
    _run_stage("fetch", "fetch_corpus", "corpora", key)


def calibrate(key: Key) -> None:
    """Choose and tokenize calibration samples."""
    _run_stage("calibrate", "calibrate", "calibrations", key)


def reconstruct(key: Key) -> None:
    """Quantize a cell's model block by block. A killed run continues where it stopped."""
    _run_stage("reconstruct", "reconstruct", "cells", key)


def compare(key: Key) -> None:
    """Count the codes in which a cell differs from its base."""
    _run_stage("compare", "compare", "cells", key)


def score(key: Key) -> None:
    """Score a cell on tasks and text."""
    _run_stage("score", "score", "cells", key)


def report() -> None:
    """Render the suite's tables and plots.

    Cells that were run here get their raw file first. Then everything is made from the raw files alone."""
    with quiet_under_dvc():
        with importing():
            from bench.power.foreseen import foreseen
            from bench.stages.report import report as render

        params = load_params()
        with _in_turn(f"report@{params.suite}", f"the report of {params.suite}"):
            closing = render(params, foreseen)
    typer.echo(closing)


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


@contextmanager
def _in_turn(stage: str, what: str) -> Iterator[None]:
    """Wait until no other process makes the same, and look at what DVC has stored of the stages before."""
    from bench.runs.leftovers import keep_lock
    from bench.store.sweep import sweep

    with held(stage, what, wait=True):
        keep_lock()
        sweep()
        yield
