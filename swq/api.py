"""One call from a model and calibration tokens to a quantized model."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import init_empty_weights
from lightning.fabric import Fabric
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel

from swq.checkpoint import Artefact
from swq.errors import UserError
from swq.export import check_possible, loaded, write_folder
from swq.files import sha256_file
from swq.identity import fingerprint
from swq.losses import Loss
from swq.measured import Windows
from swq.methods.base import Method
from swq.models.adapter import DecoderModel
from swq.models.weights import InMemory
from swq.pieces import Pieces
from swq.quant.scheme import Scheme
from swq.reconstruct.recipe import Recipe
from swq.reconstruct.runner import check_fits, reconstruct


@dataclass(frozen=True)
class Quantized:
    """What `quantize` returns.

    Attributes:
        artefact: packed codes, scales and zero points, and the other tensors that changed.
        losses: the loss of every step, block by block; empty lists where nothing was trained.
        recipe: what was done.
        calibration: on how many tokens, for people; empty where on none.
        source: the folder of the model; None if it was in memory.
        resumed: how many blocks a killed call had finished.
        precision: of training, as Lightning writes it.
    """

    artefact: Artefact = field(repr=False)
    losses: list[list[float]] = field(repr=False)
    recipe: Recipe
    calibration: str = ""
    source: Path | None = None
    resumed: int = 0
    precision: str = "32-true"

    @property
    def bits_per_weight(self) -> float:
        """Bits that are stored per quantized weight, scales and zero points included."""
        bits = self.artefact.bits_per_weight()
        assert bits is not None
        return bits

    def apply(self, model: PreTrainedModel) -> None:
        """Overwrite the weights of `model` with what the stored codes stand for, on its device and in its dtype.

        The model must be the one that was quantized, or have the same names and shapes.
        """
        self.artefact.apply(model, self.artefact.model_sha256)

    def save(self, path: Path | str) -> None:
        """Write one safetensors file, which `swq.checkpoint.Artefact.load` reads."""
        self.artefact.save(Path(path))

    def export(
        self,
        folder: Path | str,
        model: PreTrainedModel | None = None,
        dtype: torch.dtype | None = None,
        packed: bool = False,
        *,
        name: str | None = None,
        windows: Tensor | None = None,
        text: str = "a text without a name",
        fabric: Fabric | None = None,
    ) -> float | None:
        """Write a transformers folder with the weights that the codes stand for, which opens without this project.

        Packed, it holds the codes themselves and is smaller; opening it takes the package compressed-tensors.

        Args:
            folder: must not be there yet, or be empty.
            model: the model that was quantized, if it was in memory; a copy of it is written.
            dtype: of the files; by default that of the model's own.
            packed: store codes, scales and zero points, in compressed-tensors' format pack-quantized.
            name: of the base model, for the card; by default that in its config.json, or its folder's.
            windows: (N, T) int64 tokens of a text. The perplexity on them, of the weights as they are written, stands
                in the card, which otherwise says that nothing was measured.
            text: what the windows are from, for the card.
            fabric: owns the device that measures; by default the first GPU, or else the CPU.

        Returns:
            the perplexity, inf if the model diverged; None without windows.

        Raises:
            UserError: the folder holds something, the model is neither in a folder nor given, or it cannot read the
                windows.
        """
        check_possible(self.artefact, Path(folder), packed)
        if self.source:
            whole = loaded(self.source, dtype)
        elif model is not None:
            whole = deepcopy(model)
            if dtype:
                whole.to(dtype)  # type: ignore[arg-type]
        else:
            raise UserError("export: the model was in memory; give it as `model`")
        return write_folder(
            self.artefact,
            self.recipe,
            self.calibration,
            whole,
            Path(folder),
            self.source,
            packed,
            name=name,
            precision=self.precision,
            windows=None if windows is None else Windows(windows, text),
            fabric=fabric,
        )


def quantize(
    model: PreTrainedModel | Path | str,
    tokens: Tensor | None,
    scheme: Scheme | str,
    method: Method,
    loss: Loss | Mapping[str, float] | None = None,
    *,
    seed: int = 0,
    scale_dtype: str = "float16",
    bias_compensation: bool = False,
    precision: str = "32-true",
    resume: Path | str | None = None,
    fabric: Fabric | None = None,
) -> Quantized:
    """Quantize a causal language model block by block. A model that is given is left as it was.

    Blocks are computed in float32 (or under autocast), one at a time on the device, whatever dtype and device the model
    has. So a model in bfloat16 gets the codes of its float32 copy.

    Args:
        model: a transformers model, on any device, or a folder with its config.json and safetensors.
        tokens: (N, T) int64 calibration tokens; None for a method that needs none.
        scheme: such as "w3a16g64".
        method: such as `swq.OmniQuant()`.
        loss: weights by term, such as {"mse": 0.9, "sw": 0.1}; None for a method that does not train.
        seed: of every random draw.
        scale_dtype: that scales are stored in, "float16" or "float32".
        bias_compensation: after the method, shift biases so that no linear's mean output changes. Linears without
            one get one, where the model's configuration has a switch for it (LLaMA, Qwen3, Gemma).
        precision: of training, as Lightning writes it: "32-true", "bf16-mixed", or on a GPU "16-mixed".
        resume: a folder for finished blocks. A killed call that is made again with the same arguments continues there,
            and says on stderr at which block.
        fabric: owns device and precision; by default the first GPU, or else the CPU.

    Raises:
        UserError: the model, the scheme, the tokens or the loss does not fit, or a block's loss became NaN or infinite.
    """
    if tokens is not None and (tokens.dim() != 2 or tokens.is_floating_point()):
        given = f"{tokens.dtype} {tuple(tokens.shape)}"
        raise UserError(f"tokens must be whole numbers of shape (samples, tokens), not {given}")
    if not isinstance(method, Method):
        raise UserError(f"method must be an object such as swq.OmniQuant(), not {method!r}")
    if method.trains and loss is None:
        raise UserError(f'{type(method).__name__} trains: it needs a loss, such as loss={{"mse": 1.0}}')
    recipe = Recipe(
        method,
        Scheme.parse(scheme) if isinstance(scheme, str) else scheme,
        Loss(dict(loss)) if isinstance(loss, Mapping) else loss,
        seed,
        scale_dtype,  # type: ignore[arg-type]
        bias_compensation,
    )
    decoder = _held(model) if isinstance(model, PreTrainedModel) else DecoderModel.open(model)
    check_fits(decoder, recipe)
    sha256 = "" if isinstance(model, PreTrainedModel) else folder_sha256(Path(model))
    fabric = fabric or Fabric(accelerator="auto", devices=1, precision=precision)  # type: ignore[arg-type]
    calibration = tokens.cpu().long() if tokens is not None and recipe.needs_calibration else None
    vocabulary = decoder.model.config.get_text_config().vocab_size
    if calibration is not None and not 0 <= int(calibration.min()) <= int(calibration.max()) < vocabulary:
        raise UserError(f"tokens must be from 0 to {vocabulary - 1}, as the model's are")
    kept = None if resume is None else _pieces(Path(resume), sha256, calibration, repr(recipe), precision)
    if kept:
        _say_where(len(kept.names()), len(decoder.blocks))
    blocks = list(reconstruct(fabric, decoder, recipe, calibration, kept))
    artefact = Artefact(
        method=type(method).__name__.lower(),
        scheme=recipe.scheme,
        model_sha256=sha256,
        shapes={path: shape for block in blocks for path, shape in block.shapes.items()},
        tensors={name: tensor for block in blocks for name, tensor in block.packed.items()},
        changed={name: tensor for block in blocks for name, tensor in block.changed.items()},
    )
    losses = [[step["loss"] for step in block.trace] for block in blocks]
    said = "" if calibration is None else f"{calibration.shape[0]} samples of {calibration.shape[1]} tokens"
    source = None if isinstance(model, PreTrainedModel) else Path(model)
    return Quantized(artefact, losses, recipe, said, source, sum(block.resumed for block in blocks), precision)


def _pieces(folder: Path, model_sha256: str, calibration: Tensor | None, *decides: str) -> Pieces:
    """Return the place of finished blocks, which belong to this model, these tokens and this recipe.

    Raises:
        UserError: the model is held in memory.
    """
    if not model_sha256:
        raise UserError("resume needs a model in a folder: one in memory cannot be known again")
    tokens = [] if calibration is None else calibration.tolist()
    return Pieces(folder / fingerprint([model_sha256, tokens, *decides])[:32])


def _say_where(finished: int, n_blocks: int) -> None:
    """Say, beside the bar, where a killed call goes on."""
    if finished:
        at = f"continuing at block {finished + 1} of {n_blocks}"
        tqdm.write(at if finished < n_blocks else "every block was finished", file=sys.stderr)


def _held(model: PreTrainedModel) -> DecoderModel:
    """Return a twin of a model, with shapes only, whose blocks are read from the model as they are needed."""
    with init_empty_weights(include_buffers=False):
        twin = type(model)._from_config(deepcopy(model.config), dtype=torch.float32)
    return DecoderModel(twin, InMemory(dict(model.state_dict())), torch.float32)


def folder_sha256(folder: Path) -> str:
    """Return a SHA-256 over the configuration and the weights of the model in a folder."""
    files = [folder / "config.json", *sorted(folder.glob("*.safetensors"))]
    return fingerprint([[file.name, sha256_file(file)] for file in files])
