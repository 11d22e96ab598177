"""A decoder-only transformers model seen as a list of blocks with one input."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM, PreTrainedModel

from swq.errors import UserError, one_of
from swq.models import FAMILIES, family_of
from swq.models.family import ScalePair
from swq.models.introspect import HOW_TO, introspect

BlockKwargs = dict[str, Any]  # what a model passes to a block beside the hidden states


class DecoderModel:
    """Blocks, their names, their linears, and what flows into the first one.

    Attributes:
        model: the causal LM, in evaluation mode, without gradients, on the CPU.
        family: the data of its family, or what its modules tell.
        blocks: its decoder blocks in order.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model.eval().requires_grad_(False)
        model_type = model.config.model_type
        self.family = family_of(model_type) or introspect(model, model_type)
        blocks = model.get_submodule(self.family.blocks)
        assert isinstance(blocks, nn.ModuleList)
        self.blocks = blocks

    @classmethod
    def load(cls, folder: Path | str, dtype: torch.dtype = torch.float32) -> DecoderModel:
        """Read a transformers folder (config.json and safetensors), in `dtype`.

        Raises:
            UserError: the folder is missing, holds no model, or holds one that is no known causal LM.
        """
        check_model_folder(folder)
        try:
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, use_safetensors=True)
        except (OSError, ValueError) as error:
            raise UserError(f"model {folder} cannot be loaded: {str(error).splitlines()[0]}") from error
        return cls(model)

    @classmethod
    def skeleton(cls, folder: Path | str) -> DecoderModel:
        """Build the model in a transformers folder without weights: shapes only, no memory.

        Raises:
            UserError: as `load`.
        """
        check_model_folder(folder)
        try:
            with torch.device("meta"):
                return cls(AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder)))
        except (OSError, ValueError) as error:
            raise UserError(f"model {folder} cannot be built: {str(error).splitlines()[0]}") from error

    def block_name(self, index: int) -> str:
        """Return the path of block `index` inside the model, e.g. `model.layers.3`."""
        return f"{self.family.blocks}.{index}"

    def linears(self, index: int) -> dict[str, nn.Linear]:
        """Return the linears of block `index` that are quantized, by their path inside the block."""
        linears = {name: self.blocks[index].get_submodule(name) for name in self.family.linears}
        for name, linear in linears.items():
            if not isinstance(linear, nn.Linear):
                raise UserError(f"{self.block_name(index)}.{name} is a {type(linear).__name__}, not a Linear")
        return linears  # type: ignore[return-value]

    def scale_pairs(self, index: int) -> tuple[ScalePair, ...]:
        """Return the family's pairs that hold in block `index`: as many channels on one side as on the other."""
        linears = self.linears(index)

        def fits(pair: ScalePair) -> bool:
            if pair.only_if and getattr(self.model.config, pair.only_if[0]) != pair.only_if[1]:
                return False
            weight = getattr(self.blocks[index].get_submodule(pair.source), "weight", None)  # some norms have none
            return weight is not None and all(linears[reader].in_features == len(weight) for reader in pair.readers)

        return tuple(pair for pair in self.family.pairs if fits(pair))

    def require_pairs(self, method: str) -> None:
        """Raise unless scales can be handed over somewhere in this model.

        Raises:
            UserError: what to write and where, or what to do without.
        """
        if not self.scale_pairs(0):
            raise UserError(
                f"{method} hands scales from norms to linears, and nothing says where model_type"
                f" {self.model.config.model_type!r} can: {HOW_TO}. Without that go RTN, awq with scale: false,"
                " omniquant without let, and tesseraq from any of them"
            )

    @torch.no_grad()
    def first_inputs(self, input_ids: Tensor) -> tuple[Tensor, list[BlockKwargs]]:
        """Return what enters the first block, and what every block is given beside it.

        The blocks themselves do not run: each only notes its arguments. The arguments are taken from one sample, so
        that they broadcast over any batch size.

        Args:
            input_ids: (N, T) int64 tokens, no padding.

        Returns:
            hidden states (N, T, C), and one dict of keyword arguments per block.
        """
        hidden: list[Tensor] = []
        with _recording(self.blocks) as calls:
            for sample in input_ids.split(1):
                calls.clear()
                self.model(sample, use_cache=False)
                hidden.append(calls[0][0])
        kwargs = [call for _, call in calls]
        return torch.cat(hidden), kwargs


def check_model_folder(folder: Path | str) -> str:
    """Return the `model_type` of the model in `folder`, without loading it.

    Raises:
        UserError: no such folder, no config.json, or a model that transformers knows no causal LM for.
    """
    config = Path(folder) / "config.json"
    if not config.is_file():
        raise UserError(f"model {str(folder)!r} is no transformers model folder: there is no {config}")
    try:
        described = json.loads(config.read_text())
        model_type = described["model_type"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{config} does not name a model_type") from error
    if model_type not in CONFIG_MAPPING:
        raise UserError(f"{config}: {one_of('model_type', model_type, (t for f in FAMILIES for t in f.model_types))}")
    if not any("CausalLM" in name for name in described.get("architectures") or []):
        raise UserError(f"{config}: architectures {described.get('architectures')} hold no causal language model")
    return model_type


@contextmanager
def _recording(blocks: nn.ModuleList) -> Iterator[list[tuple[Tensor, BlockKwargs]]]:
    """Make every block note (hidden states, other arguments by name) and return its input unchanged.

    The first block runs once, to see whether blocks of this model return a tensor or a tuple.
    """
    calls: list[tuple[Tensor, BlockKwargs]] = []
    names = list(signature(blocks[0].forward).parameters)
    run_block = blocks[0].forward
    extra: list[tuple[Any, ...] | None] = []  # what follows the hidden states in a block's output

    def record(*args: Any, **kwargs: Any) -> Tensor | tuple[Any, ...]:
        given = dict(zip(names, args, strict=False)) | kwargs
        if not extra:
            output = run_block(*args, **kwargs)
            extra.append(output[1:] if isinstance(output, tuple) else None)
        hidden_states = given.pop(names[0])
        calls.append((hidden_states, given))
        return hidden_states if extra[0] is None else (hidden_states, *extra[0])

    for block in blocks:
        block.forward = record  # an instance attribute shadows the class's method until it is deleted
    try:
        yield calls
    finally:
        for block in blocks:
            del block.forward


def block_output(output: Tensor | tuple[Tensor, ...], expected: torch.Size) -> Tensor:
    """Return a block's hidden states (B, T, C), whatever the transformers version returns.

    Older versions return a tuple, newer ones a tensor; taking [0] of a tensor would drop the batch silently, so the
    shape is checked.

    Raises:
        RuntimeError: the output does not have the shape of the input.
    """
    hidden = output if isinstance(output, Tensor) else output[0]
    if hidden.shape != expected:
        raise RuntimeError(f"a block returned {tuple(hidden.shape)} for an input of {tuple(expected)}")
    return hidden
