"""What `check` asks of a model. Its files tell, where its family is known; building the model takes seconds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from swq.models import family_of
from swq.models.family import Family, ScalePair
from swq.models.folder import check_model_folder


@dataclass(frozen=True)
class Described:
    """A model's blocks, which are all alike.

    Attributes:
        model_type: as config.json has it.
        shapes: (out, in) of each quantized linear, by its path inside a block.
        has_biases: whether one of them has a bias.
        has_pairs: whether a scale can be passed on somewhere in a block.
        context: the most tokens that the model takes; None where it has no such limit.
    """

    model_type: str
    shapes: dict[str, tuple[int, int]]
    has_biases: bool
    has_pairs: bool
    context: int | None

    @property
    def inputs(self) -> dict[str, int]:
        """Input channels of each quantized linear."""
        return {name: inputs for name, (_, inputs) in self.shapes.items()}


def describe(folder: Path) -> Described:
    """Describe the model in a transformers folder.

    Raises:
        UserError: the folder holds no model that is a known causal LM, or its blocks cannot be told.
    """
    check_model_folder(folder)
    return described_by_files(folder) or described_by_skeleton(folder)


def described_by_files(folder: Path) -> Described | None:
    """Return what config.json and the headers of the weights tell; None if they leave a question open."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        family = family_of(config["model_type"])
        return _of_family(family, config, _stored_shapes(folder)) if family else None
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, IndexError):
        return None  # whoever builds the model says what is wrong


def described_by_skeleton(folder: Path) -> Described:
    """Return what the model tells when it is built from its configuration, with shapes only.

    Raises:
        UserError: it cannot be built.
    """
    from swq.models.adapter import DecoderModel

    model = DecoderModel.skeleton(folder)
    linears = model.linears(0)
    return Described(
        model_type=model.model.config.model_type,
        shapes={name: (linear.out_features, linear.in_features) for name, linear in linears.items()},
        has_biases=any(linear.bias is not None for linear in linears.values()),
        has_pairs=bool(model.scale_pairs(0)),
        context=getattr(model.model.config, "max_position_embeddings", None),
    )


def _of_family(family: Family, config: dict[str, Any], stored: dict[str, tuple[int, ...]]) -> Described:
    """Describe a model of a family.

    Raises:
        KeyError: something is not stored, or config.json leaves it to transformers' defaults.
        ValueError: config.json and the weights contradict each other.
    """
    whole = f"{family.blocks}.0.{family.linears[0]}.weight" in stored  # else saved from the decoder alone
    blocks = family.blocks if whole else family.blocks.partition(".")[2]
    inputs = {stored[f"{blocks}.0.{name}.weight"][1] for name in family.linears}
    last = f"{blocks}.{config['num_hidden_layers'] - 1}.{family.linears[0]}.weight"
    widths = {value for value in config.values() if isinstance(value, int)}
    widths.add(config["num_attention_heads"] * config.get("head_dim", 0))
    first = f"{blocks}.0."
    block = {name.removeprefix(first): shape for name, shape in stored.items() if name.startswith(first)}
    if last not in stored or block[f"{family.linears[0]}.weight"][1] != config["hidden_size"] or not widths >= inputs:
        raise ValueError("other blocks than in config.json")
    return described_block(family, config, block)


def described_block(family: Family, config: Mapping[str, Any], block: Mapping[str, tuple[int, ...]]) -> Described:
    """Describe a model of a family, from the shapes of one block's tensors.

    Raises:
        KeyError: a tensor is missing, or config.json leaves something to transformers' defaults.
    """
    weights = {name: block[f"{name}.weight"] for name in family.linears}
    return Described(
        model_type=config["model_type"],
        shapes={name: (outputs, inputs) for name, (outputs, inputs) in weights.items()},
        has_biases=any(f"{name}.bias" in block for name in weights),
        has_pairs=bool(fitting_pairs(family, config, block)),
        context=config["max_position_embeddings"],
    )


def fitting_pairs(
    family: Family, config: Mapping[str, Any], block: Mapping[str, tuple[int, ...]]
) -> tuple[ScalePair, ...]:
    """Return the pairs of a family that hold in a model, from the shapes of one block's tensors.

    Raises:
        KeyError: a tensor is missing, or config.json leaves something to transformers' defaults.
    """

    def fits(pair: ScalePair) -> bool:
        if pair.only_if and config[pair.only_if[0]] != pair.only_if[1]:
            return False
        channels = block[f"{pair.source}.weight"][0]
        return all(block[f"{reader}.weight"][1] * pair.parts == channels for reader in pair.readers)

    return tuple(pair for pair in family.pairs if fits(pair))


def _stored_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="numpy") as handle:
            found |= {name: tuple(handle.get_slice(name).get_shape()) for name in handle.keys()}  # noqa: SIM118
    return found
