"""The command line: `python -m bench --help`. Each stage of dvc.yaml is one command here."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable

import typer

from bench.commands import results, smoke, speed, stages, suite
from bench.store.failures import note_failure, note_success
from swq.errors import UserError

app = typer.Typer(
    name="python -m bench",
    help="Benchmark of quantization methods with and without the sliced-Wasserstein loss. `run` runs the suite in"
    " params.yaml and shows its progress. `dvc repro` runs the same stages, which are commands here too.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

# In the order of the help. A new command is a function in bench/commands and a line here.
COMMANDS: dict[str, Callable[..., None]] = {
    "compose": suite.compose,
    "check": suite.check,
    "estimate": suite.estimate,
    "power": suite.power,
    "run": suite.run,
    "show": suite.show,
    "import": results.import_results,
    "export": results.export,
    "verify": results.verify,
    "published": results.published,
    "failures": results.failures,
    "index": results.index,
    "speed": speed.speed,
    "smoke-gpu": smoke.smoke_gpu,
    "validate": stages.validate,
    "fetch-model": stages.fetch_model,
    "train-model": stages.train_model,
    "fetch-corpus": stages.fetch_corpus,
    "calibrate": stages.calibrate,
    "reconstruct": stages.reconstruct,
    "compare": stages.compare,
    "score": stages.score,
    "report": stages.report,
}
for name, command in COMMANDS.items():
    app.command(name)(command)


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
