"""A decoder-only transformers model seen as a list of blocks with one input."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from swq.errors import UserError
from swq.models import family_of
from swq.models.biases import add_biases, may_get_bias
from swq.models.family import ScalePair
from swq.models.folder import check_model_folder, reason
from swq.models.introspect import HOW_TO, introspect, require_no_experts
from swq.models.recording import BlockKwargs, recording, require_same
from swq.models.weights import Checkpoint, InMemory, Weights, empty, fill

# What transformers raises on a configuration that makes no sense. It has checks of its own for few of its fields.
UNREADABLE = (
    *(OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, ZeroDivisionError),
    *(RuntimeError, StrictDataclassError),  # RecursionError is a RuntimeError
)


class DecoderModel:
    """Blocks, their names, their linears, and what flows into the first one.

    Attributes:
        model: the causal LM, in evaluation mode, without gradients, on the CPU.
        family: the data of its family, or a family derived from its modules.
        blocks: its decoder blocks in order.
        weights: where the values of its parameters are read from as they are needed; None if it holds them all.
        dtype: of the parameters.
    """

    def __init__(
        self, model: PreTrainedModel, weights: Weights | None = None, dtype: torch.dtype | None = None
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.weights = weights
        self.dtype = dtype or model.dtype
        model_type = model.config.model_type
        require_no_experts(model, model_type)
        self.family = family_of(model_type) or introspect(model, model_type)
        blocks = model.get_submodule(self.family.blocks)
        assert isinstance(blocks, nn.ModuleList)
        self.blocks = blocks

    @classmethod
    def load(cls, folder: Path | str, dtype: torch.dtype = torch.float32) -> DecoderModel:
        """Read a transformers folder (config.json and safetensors) into memory, in `dtype`.

        Raises:
            UserError: the folder is missing, holds no model, or holds one that is not a known causal LM.
        """
        check_model_folder(folder)
        try:
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder, dtype=dtype, use_safetensors=True, output_loading_info=True
            )
        except UNREADABLE as error:
            raise UserError(f"model {folder} cannot be loaded: {reason(error)}") from error
        model, found = loaded
        if missing := sorted(found["missing_keys"]):  # transformers would initialise them at random
            raise UserError(f"model {str(folder)!r}: its safetensors hold no {missing[0]}")
        return cls(model)

    @classmethod
    def open(
        cls,
        folder: Path | str,
        dtype: torch.dtype = torch.float32,
        overlay: Callable[[Weights], Weights] = lambda weights: weights,
        biases: Collection[str] = (),
    ) -> DecoderModel:
        """Build the model in a transformers folder with shapes only; values are read from it as they are needed.

        Args:
            folder: holds config.json and safetensors.
            dtype: of the parameters once they have values.
            overlay: takes the folder's weights and returns the weights to read in their place.
            biases: paths of the linears that get a bias, which `overlay` has.

        Raises:
            UserError: as `load`.
        """
        opened = cls(_build(folder, dtype), dtype=dtype)  # refuses what it cannot take, before weights are read
        model = opened.model
        weights: Weights = Checkpoint(folder, model.base_model_prefix)
        if not all(path in weights for path, _ in model.named_parameters() if path not in _tied(model)):
            # Stored under old names, which transformers translates, but only when it loads the model as a whole.
            weights = InMemory(cls.load(folder, dtype).model.state_dict())
        add_biases(model, biases)
        opened.weights = overlay(weights)
        return opened

    @classmethod
    def skeleton(cls, folder: Path | str) -> DecoderModel:
        """Build the model in a transformers folder with shapes only, and never read weights: the folder needs none.

        Raises:
            UserError: as `load`.
        """
        return cls(_build(folder, torch.float32))

    def fill_block(self, index: int, device: torch.device) -> None:
        """Bring block `index` to `device`, with its values."""
        if self.weights is not None:
            fill(self.blocks[index], f"{self.block_name(index)}.", self.weights, self.dtype, device)
        self.blocks[index].to(device)

    def empty_block(self, index: int) -> None:
        """Undo `fill_block`: free the block's values if the weights are on disk, else move it back to the CPU."""
        if self.weights is not None:
            empty(self.blocks[index])
        else:
            self.blocks[index].cpu()

    def fill_rest(self, device: torch.device, head: bool = True) -> None:
        """Bring everything outside the blocks to `device`: embeddings, norms and, unless told otherwise, the head."""
        if self.weights is not None:
            base = self.model.base_model_prefix
            tied = _tied(self.model)

            def wanted(path: str) -> bool:
                return not self._in_blocks(path) and path not in tied and (head or path.startswith(f"{base}."))

            fill(self.model, "", self.weights, self.dtype, device, wanted)
            self.model.tie_weights()

    def empty_rest(self) -> None:
        """Undo `fill_rest`."""
        if self.weights is not None:
            empty(self.model, lambda path: not self._in_blocks(path))

    def _in_blocks(self, path: str) -> bool:
        return path.startswith(f"{self.family.blocks}.")

    @contextmanager
    def filled(self, index: int, device: torch.device) -> Iterator[nn.Module]:
        """Yield block `index` with its values on `device`, for as long as the context lasts."""
        self.fill_block(index, device)
        try:
            yield self.blocks[index]
        finally:
            self.empty_block(index)

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

    def with_bias(self, index: int) -> list[str]:
        """Return those of `linears` that have a bias, or may get one."""
        may = may_get_bias(self.model.config.model_type)
        return [name for name, linear in self.linears(index).items() if linear.bias is not None or name in may]

    def scale_pairs(self, index: int) -> tuple[ScalePair, ...]:
        """Return the family's pairs that hold in block `index`: both sides have the same number of channels."""
        linears = self.linears(index)

        def fits(pair: ScalePair) -> bool:
            if pair.only_if and getattr(self.model.config, pair.only_if[0]) != pair.only_if[1]:
                return False
            weight = getattr(self.blocks[index].get_submodule(pair.source), "weight", None)  # some norms have none
            if weight is None:
                return False
            return all(linears[reader].in_features * pair.parts == len(weight) for reader in pair.readers)

        return tuple(pair for pair in self.family.pairs if fits(pair))

    def require_pairs(self, method: str) -> None:
        """Raise unless this model has scale pairs.

        Raises:
            UserError: says what to write and where, and which methods work without.
        """
        if not self.scale_pairs(0):
            raise UserError(
                f"{method} moves scales between norms and linears, but no scale pairs are known for model_type"
                f" {self.model.config.model_type!r}: {HOW_TO}. These work without: RTN, gptq, awq with scale: false,"
                " omniquant without let, and tesseraq from any of them"
            )

    @torch.no_grad()
    def first_inputs(self, input_ids: Tensor) -> tuple[Tensor, list[BlockKwargs]]:
        """Return the inputs of the first block, and the other arguments that every block receives.

        The blocks themselves do not run: each only notes its arguments. The arguments are those of the first sample
        alone, so that they broadcast over any batch size.

        Args:
            input_ids: (N, T) int64 tokens, no padding.

        Returns:
            hidden states (N, T, C), and one dict of keyword arguments per block.

        Raises:
            UserError: a block's other arguments depend on the sample.
        """
        hidden: list[Tensor] = []
        kwargs: list[BlockKwargs] = []
        self.fill_rest(input_ids.device, head=False)
        with self.filled(0, input_ids.device), recording(self.blocks) as calls:
            for index, sample in enumerate(input_ids.split(1)):
                calls.clear()
                self.model.base_model(sample, use_cache=False)
                hidden.append(calls[0][0])
                given = [call for _, call in calls]
                kwargs = kwargs or given
                require_same(kwargs, given, index, self.block_name)
        self.empty_rest()
        return torch.cat(hidden), kwargs


def _tied(model: PreTrainedModel) -> Collection[str]:
    """Return the paths of parameters that are tied to other parameters."""
    return getattr(model, "all_tied_weights_keys", {})


def _build(folder: Path | str, dtype: torch.dtype) -> PreTrainedModel:
    """Build a model whose parameters are shapes only; its buffers, which follow from the configuration, are real."""
    check_model_folder(folder)
    try:
        with init_empty_weights(include_buffers=False):
            return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=dtype)
    except UNREADABLE as error:
        raise UserError(f"model {folder} cannot be built: {reason(error)}") from error


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
