"""Shapes of the hub's models as conf/shapes.yaml records them, so that planning a run needs no network."""

from __future__ import annotations

from functools import cache
from math import prod
from pathlib import Path
from typing import Any

from pydantic import Field, RootModel, ValidationError, model_validator

from bench.config.sources import HubModel, ModelSource
from bench.config.strict import Strict, mistake, one_line, parse_yaml
from bench.preflight.described import Described, described_block, fitting_pairs
from bench.preflight.shapes import Linear, Shapes
from bench.store.files import read_mapping
from swq.errors import UserError, one_of
from swq.models import families, family_of
from swq.models.family import Family

SHAPES = Path("conf/shapes.yaml")
CONFIG = "config.json"
READ = ("hidden_size", "num_attention_heads", "num_hidden_layers", "vocab_size", "max_position_embeddings")


class RecordedModel(Strict):
    """What conf/shapes.yaml holds of a model.

    Attributes:
        commit: of the hub's repository, or its first digits.
        config: what its config.json says, as far as shapes follow from it.
        block: shape of every tensor of one block, by its name inside the block.
        other: shape of every tensor outside the blocks; shared ones once.
    """

    commit: str = Field(min_length=7)
    config: dict[str, Any]
    block: dict[str, tuple[int, ...]]
    other: dict[str, tuple[int, ...]]

    @model_validator(mode="after")
    def _is_whole(self) -> RecordedModel:
        known = [name for family in families() for name in family.model_types]
        if self.config.get("model_type") not in known:
            raise mistake(f"config.model_type: {one_of('model_type', str(self.config.get('model_type')), known)}")
        for name in READ:
            if type(self.config.get(name)) is not int:
                raise mistake(f"config.{name}: is missing, or no whole number")
        for linear in self.family.linears:
            if len(self.block.get(f"{linear}.weight", ())) != 2:
                raise mistake(f"block.{linear}.weight: is missing, or no matrix")
        return self

    @property
    def family(self) -> Family:
        family = family_of(self.config["model_type"])
        assert family is not None
        return family

    def shapes(self) -> Shapes:
        family = self.family
        scaled = {reader for pair in fitting_pairs(family, self.config, self.block) for reader in pair.readers}
        linears = (
            Linear(outputs, inputs, clipped=name not in family.not_clipped, scaled=name in scaled)
            for name in family.linears
            for outputs, inputs in [self.block[f"{name}.weight"]]
        )
        return Shapes(
            blocks=self.config["num_hidden_layers"],
            hidden=self.config["hidden_size"],
            heads=self.config["num_attention_heads"],
            vocabulary=self.config["vocab_size"],
            block_parameters=sum(map(prod, self.block.values())),
            other_parameters=sum(map(prod, self.other.values())),
            linears=tuple(linears),
            eager=self.config.get("attn_logit_softcapping") is not None,
        )

    def described(self) -> Described:
        return described_block(self.family, self.config, self.block)


class _File(RootModel[dict[str, RecordedModel]]):
    pass


@cache
def _read(text: str) -> dict[str, RecordedModel]:
    try:
        return _File.model_validate(parse_yaml(text, str(SHAPES))).root
    except ValidationError as error:
        raise UserError(f"{SHAPES}: {one_line(error)}") from error


def recorded(source: ModelSource | None) -> RecordedModel | None:
    """Return what is recorded of a model; None if it is not from the hub, or of another commit.

    Raises:
        UserError: conf/shapes.yaml is not valid.
    """
    if not isinstance(source, HubModel) or not SHAPES.is_file():
        return None
    found = _read(SHAPES.read_text(encoding="utf-8")).get(source.repo)
    pinned = source.commit or source.revision
    return found if found and (found.commit.startswith(pinned) or pinned.startswith(found.commit)) else None


def contradiction(model: RecordedModel, folder: Path) -> str | None:
    """Name the first value of a model's own config.json that is not the recorded one; None if all are.

    Raises:
        UserError: config.json cannot be read.
    """
    own = read_mapping(folder / CONFIG)
    for name, value in model.config.items():
        if name in own and own[name] != value:
            return f"{SHAPES} says {name}: {value}, and {folder / CONFIG} says {own[name]}"
    return None
