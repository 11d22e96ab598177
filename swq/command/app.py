"""`swq --help`: the commands and what each may be told. Libraries that take seconds are imported by what needs them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from swq.command.settings import LOSS, QUANTIZING, loss_of, method_of, parse_settings
from swq.errors import UserError, one_of
from swq.losses import TERMS
from swq.models.folder import check_model_folder
from swq.quant.scheme import Scheme
from swq.reconstruct.recipe import Recipe

PRECISIONS, SCALES, DEVICES = ("32-true", "bf16-mixed", "16-mixed"), ("float16", "float32"), ("auto", "cpu", "gpu")
DTYPES = ("float32", "bfloat16", "float16")

app = typer.Typer(
    name="swq",
    help="Quantize the weights of a language model, export it, look at it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Stored = Annotated[Path, typer.Argument(metavar="DIR", help="A folder that `swq quantize` wrote.")]
Source = Annotated[
    Path | None, typer.Option("--model", help="The folder of the model that was quantized, if it was moved since.")
]
Calibration = Annotated[
    Path | None,
    typer.Option(help='Text: .jsonl with a field "text", or .txt. Tokens: .safetensors with int64 (N, T).'),
]
Samples = Annotated[int | None, typer.Option(min=1, help="Windows of text to draw; 128 by default.")]
Length = Annotated[int | None, typer.Option(min=2, help="Tokens of a window; 2048 by default.")]
Device = Annotated[str, typer.Option(help="auto takes the first GPU if there is one; or cpu, or gpu.")]


@app.command()
def quantize(
    model: Annotated[Path, typer.Argument(metavar="FOLDER", help="Holds config.json, safetensors and a tokenizer.")],
    out: Annotated[Path, typer.Option(help="The folder to write; must not be there yet, or be empty.")],
    scheme: Annotated[str, typer.Option(help="w3a16g64: 3 bits, 64 weights share a scale. w3a16: a scale a row.")],
    method: Annotated[str, typer.Option(help=f"One of {', '.join(QUANTIZING)}.")],
    calibration: Calibration = None,
    loss: Annotated[str | None, typer.Option(help=f"Such as mse=0.9,sw=0.1. Terms: {', '.join(TERMS)}.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting: epochs=3, start=awq, start.scale=false, loss.n_projections=64."),
    ] = None,
    samples: Samples = None,
    length: Length = None,
    seed: Annotated[int, typer.Option(min=0, help="Of every random draw.")] = 0,
    precision: Annotated[str, typer.Option(help=f"Of training, one of {', '.join(PRECISIONS)}.")] = PRECISIONS[0],
    scale_dtype: Annotated[str, typer.Option(help="That scales are stored in: float16 or float32.")] = SCALES[0],
    bias_compensation: Annotated[
        bool, typer.Option("--bias-compensation", help="Then shift biases so that no linear's mean output changes.")
    ] = False,
    device: Device = DEVICES[0],
    threads: Annotated[int | None, typer.Option(min=1, help="Of the CPU; torch's choice by default.")] = None,
) -> None:
    """Quantize the model in a folder.

    A command that was stopped or killed continues behind the last finished block when it is given again. Finished
    blocks lie beside the output folder, in one whose name ends in .unfinished."""
    _check("--precision", precision, PRECISIONS)
    _check("--scale-dtype", scale_dtype, SCALES)
    _check("--device", device, DEVICES)
    values = parse_settings(settings or [])
    of_loss = values.pop(LOSS, {})
    made = method_of(method, values)
    recipe = Recipe(
        made,
        Scheme.parse(scheme),
        loss_of(loss, of_loss, made),
        seed,
        scale_dtype,  # type: ignore[arg-type]
        bias_compensation,
    )
    check_model_folder(model)
    from swq.command.calibration import Text
    from swq.command.run import Request, run

    text = None if calibration is None else Text(calibration, samples, length)
    try:
        said = run(Request(model, out, text, precision, device, threads), recipe)
    except KeyboardInterrupt:
        typer.echo("\nstopped; the same command continues behind the last finished block", err=True)
        raise typer.Exit(130) from None
    typer.echo(said)


@app.command()
def export(
    folder: Stored,
    out: Annotated[Path, typer.Option(help="The folder to write; must not be there yet, or be empty.")],
    packed: Annotated[
        bool, typer.Option("--packed", help="Store packed codes (compressed-tensors, pack-quantized): smaller files.")
    ] = False,
    model: Source = None,
    dtype: Annotated[
        str | None, typer.Option(help=f"Of the files: {', '.join(DTYPES)}. The model's by default.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the base model, for the model card.")] = None,
    perplexity: Annotated[
        Path | None, typer.Option(help="Text or tokens to measure the perplexity on, for the model card.")
    ] = None,
    windows: Annotated[int | None, typer.Option(min=1, help="Of that text: the first ones; all by default.")] = None,
    length: Annotated[
        int | None, typer.Option(min=2, help="Tokens of such a window; 2048 or the model's context by default.")
    ] = None,
    device: Device = DEVICES[0],
) -> None:
    """Write a Hugging Face folder that transformers opens without this project.

    Its model card says what was done. With --perplexity it also says how good the written weights are."""
    if dtype is not None:
        _check("--dtype", dtype, DTYPES)
    _check("--device", device, DEVICES)
    if perplexity is None and (windows or length):
        raise UserError("--windows and --length are those of a text: give --perplexity too")
    from swq.command.calibration import PERPLEXITY, Text
    from swq.command.show import Export
    from swq.command.show import export as write

    text = None if perplexity is None else Text(perplexity, windows, length, PERPLEXITY)
    typer.echo(write(folder, Export(out, model, dtype, packed, name, text, device)))


@app.command()
def inspect(
    folder: Stored,
    model: Source = None,
    calibration: Calibration = None,
    samples: Samples = None,
    length: Length = None,
    device: Device = DEVICES[0],
) -> None:
    """Show what was done, bits and sizes, and how far each layer is from the model's.

    With text or tokens (--calibration) it also measures the error of each block's output on them."""
    _check("--device", device, DEVICES)
    from swq.command.calibration import Text
    from swq.command.show import inspect as show

    typer.echo(show(folder, model, device, None if calibration is None else Text(calibration, samples, length)))


def _check(kind: str, given: str, allowed: tuple[str, ...]) -> None:
    if given not in allowed:
        raise UserError(one_of(kind, given, allowed))


def main() -> None:
    """Run the command line; a user's mistake ends in one line and exit status 1."""
    try:
        app()
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.filename is None:
            raise
        sys.exit(f"error: {error.filename}: {error.strerror}")


if __name__ == "__main__":
    main()
