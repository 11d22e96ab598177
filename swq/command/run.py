"""`swq quantize` at work: what it computes with, where finished blocks lie meanwhile, what it leaves."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from lightning.fabric import Fabric

from swq.api import quantize
from swq.command.calibration import Text, read_calibration
from swq.command.device import start_fabric
from swq.command.folder import check_free, write
from swq.errors import UserError
from swq.files import sha256_file, try_lock
from swq.identity import fingerprint
from swq.kernels import choose
from swq.models.adapter import DecoderModel
from swq.reconstruct.recipe import Recipe
from swq.reconstruct.runner import check_fits

UNFINISHED = (
    ".unfinished"  # ends the name of the folder where finished blocks lie, beside the one that is to be written
)
LIBRARIES = ("torch", "transformers", "lightning", "numpy")


@dataclass(frozen=True)
class Request:
    """What a command line asks for, apart from the recipe.

    Attributes:
        model: the folder of the model.
        out: the folder to write.
        text: calibration; None if none was given.
        precision: of training, as Lightning writes it.
        device: auto, cpu or gpu.
        threads: of the CPU; None leaves it to torch.
    """

    model: Path
    out: Path
    text: Text | None = None
    precision: str = "32-true"
    device: str = "auto"
    threads: int | None = None


def run(request: Request, recipe: Recipe) -> str:
    """Quantize, write the folder, and return a closing line. A run that was killed before is continued.

    Raises:
        UserError: as `swq.quantize`, or the output folder is taken.
    """
    check_free(request.out)
    needed = recipe.needs_calibration
    if needed and request.text is None:
        raise UserError(f"{recipe.label} needs calibration text or tokens: give --calibration")
    check_fits(DecoderModel.skeleton(request.model), recipe)
    fabric = start_fabric(request.device, request.precision, request.threads)
    kernels = choose.use(choose.AUTO, fabric.device)
    tokens = read_calibration(request.text, request.model, recipe.seed) if needed and request.text else None
    assert recipe.scheme is not None
    with _unfinished(request.out) as place:
        kept = any(place.glob("*/*/*"))
        found = quantize(
            request.model,
            tokens,
            recipe.scheme,
            recipe.method,
            recipe.loss,
            seed=recipe.seed,
            scale_dtype=recipe.scale_dtype,
            bias_compensation=recipe.bias_compensation,
            precision=request.precision,
            resume=place / _machine(fabric, kernels),
            fabric=fabric,
        )
        epochs = [] if tokens is None else recipe.method.epoch_lengths(len(tokens))
        write(request.out, found, epochs, request.precision)
    taken = f"; {found.resumed} of {len(found.losses)} blocks are those of a stopped run" if found.resumed else ""
    elsewise = "; unfinished blocks of other settings were removed" if kept and not found.resumed else ""
    many = "; the model's own weights take 16" if found.bits_per_weight > 16 else ""
    bits = f"{found.bits_per_weight:.3f} bits per weight"
    return f"{request.out}: {recipe.scheme} by {recipe.label}, {bits}{many}{taken}{elsewise}"


@contextmanager
def _unfinished(out: Path) -> Iterator[Path]:
    """Yield the folder for finished blocks, which no other process uses; it goes when the result is written.

    Raises:
        UserError: another process is writing the same.
    """
    place = out.with_name(out.name + UNFINISHED)
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("w") as lock:
        if not try_lock(lock):
            raise UserError(f"another process is writing {out}; wait for it, or give another --out")
        try:
            yield place
        except BaseException:
            if not any(place.glob("*/*/*")):  # no block was finished
                shutil.rmtree(place)
            raise
        shutil.rmtree(place)


def _machine(fabric: Fabric, kernels: str) -> str:
    """Return a name for what decides a block's bits besides its settings: code, libraries, threads and device."""
    package = Path(__file__).parent.parent
    code = {str(file.relative_to(package)): sha256_file(file) for file in package.rglob("*.[pc]*") if file.is_file()}
    sources = {name: digest for name, digest in code.items() if name.endswith((".py", ".c"))}
    chip = torch.cuda.get_device_name(fabric.device) if torch.cuda.is_available() else "CPU"
    facts = [sources, {name: version(name) for name in LIBRARIES}, torch.get_num_threads(), chip, kernels]
    return fingerprint(facts)[:16]
