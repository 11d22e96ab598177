"""A model's shapes, and reading them from its configuration alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.nn import Parameter
    from transformers import PreTrainedModel

    from swq.models.adapter import DecoderModel


@dataclass(frozen=True)
class Linear:
    """A quantized linear: its shape, whether a search may clip it, and whether AWQ searches a scale for it."""

    outputs: int
    inputs: int
    clipped: bool
    scaled: bool

    @property
    def weights(self) -> int:
        return self.outputs * self.inputs

    def group(self, size: int | None) -> int:
        """Return the input channels of a group, for a configured size or None."""
        return size or self.inputs


@dataclass(frozen=True)
class Shapes:
    """A model's shapes, all counts.

    Attributes:
        blocks: L.
        hidden: C.
        heads: of the attention.
        vocabulary: V.
        block_parameters: P_b.
        other_parameters: embeddings, head and norms outside the blocks; shared ones once.
        linears: the quantized linears of one block.
        eager: attention runs in plain products, as it must to cap its scores, and keeps them for the gradient.
    """

    blocks: int
    hidden: int
    heads: int
    vocabulary: int
    block_parameters: int
    other_parameters: int
    linears: tuple[Linear, ...]
    eager: bool = False

    @property
    def quantized(self) -> int:
        """P_q."""
        return sum(linear.weights for linear in self.linears)

    @property
    def parameters(self) -> int:
        return self.blocks * self.block_parameters + self.other_parameters

    @property
    def widest(self) -> int:
        """Channels of the widest activation of a block."""
        return max(max(linear.outputs, linear.inputs) for linear in self.linears)

    @property
    def largest(self) -> int:
        """Weights of the largest linear."""
        return max(linear.weights for linear in self.linears)


def read_shapes(folder: Path) -> Shapes:
    """Read the shapes of the model in a transformers folder; its configuration is enough.

    Raises:
        UserError: the folder holds no configuration of a known causal LM.
    """
    from swq.models.adapter import DecoderModel

    return shapes_in(DecoderModel.skeleton(folder))


def shapes_in(model: DecoderModel) -> Shapes:
    """Return the shapes of a model, which needs no weights."""
    scaled = {reader for pair in model.scale_pairs(0) for reader in pair.readers}
    linears = (
        Linear(linear.out_features, linear.in_features, path not in model.family.not_clipped, path in scaled)
        for path, linear in model.linears(0).items()
    )
    block = sum(parameter.numel() for parameter in model.blocks[0].parameters())
    everything = sum(parameter.numel() for parameter in {*model.model.parameters()} - _copies(model.model))
    config, n_blocks = model.model.config, len(model.blocks)
    return Shapes(
        blocks=n_blocks,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        vocabulary=config.vocab_size,
        block_parameters=block,
        other_parameters=everything - n_blocks * block,
        linears=tuple(linears),
        eager=config._attn_implementation == "eager",
    )


def _copies(model: PreTrainedModel) -> set[Parameter]:
    """Return the head's weight where it is the embedding's: without weights they are two tensors."""
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    shared = model.config.tie_word_embeddings and head is not None and head.weight is not embedding.weight
    return {head.weight} if shared else set()
