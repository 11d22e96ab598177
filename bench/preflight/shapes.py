"""A model's shapes, read from its configuration alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.config.params import Params
from bench.config.sources import FolderModel, HubModel
from bench.inputs.models import ModelRecord
from bench.prepare.hub import fetch_hub_config
from bench.store.paths import MODEL, model_folder
from swq.errors import UserError


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
    """

    blocks: int
    hidden: int
    heads: int
    vocabulary: int
    block_parameters: int
    other_parameters: int
    linears: tuple[Linear, ...]

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


def config_folder(params: Params, name: str) -> Path | None:
    """Return a folder with a model's configuration, from the hub if need be; None if the model is not made yet.

    Raises:
        UserError: it cannot be fetched from the hub.
    """
    if (model_folder(name) / MODEL).is_file():
        return ModelRecord.load(name).folder
    source = params.models.get(name)
    if isinstance(source, HubModel):
        return fetch_hub_config(source)
    return source.path if isinstance(source, FolderModel) else None


def shapes_of(params: Params, name: str) -> Shapes:
    """Read a model's shapes from its configuration alone.

    Raises:
        UserError: the configuration is not available.
    """
    folder: Path | None = config_folder(params, name)
    if folder is None:
        stage = "train-model" if name in params.trainings else "fetch-model"
        raise UserError(
            f"model {name} is not there yet, so its shapes are unknown: `dvc repro {stage}@{name}` makes it"
        )
    return read_shapes(folder)


def read_shapes(folder: Path) -> Shapes:
    """Read the shapes of the model in a transformers folder; its configuration is enough.

    Raises:
        UserError: the folder holds no configuration of a known causal LM.
    """
    from swq.models.adapter import DecoderModel

    model = DecoderModel.skeleton(folder)
    scaled = {reader for pair in model.scale_pairs(0) for reader in pair.readers}
    linears = (
        Linear(linear.out_features, linear.in_features, path not in model.family.not_clipped, path in scaled)
        for path, linear in model.linears(0).items()
    )
    block = sum(parameter.numel() for parameter in model.blocks[0].parameters())
    everything = sum(parameter.numel() for parameter in model.model.parameters())
    config, n_blocks = model.model.config, len(model.blocks)
    return Shapes(
        blocks=n_blocks,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        vocabulary=config.vocab_size,
        block_parameters=block,
        other_parameters=everything - n_blocks * block,
        linears=tuple(linears),
    )
