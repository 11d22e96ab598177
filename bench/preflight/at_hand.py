"""What is known of a model before it is there: from its folder, from conf/shapes.yaml, or from the hub."""

from __future__ import annotations

from pathlib import Path

from bench.config.params import Params
from bench.config.sources import FolderModel, HubModel
from bench.inputs.models import ModelRecord
from bench.preflight.described import Described, describe
from bench.preflight.recorded import recorded
from bench.preflight.shapes import Shapes, read_shapes
from bench.prepare.hub import fetch_hub_config
from bench.store.paths import MODEL, model_folder
from swq.errors import UserError


class NotAtHand(UserError):
    """Nothing on this machine says what a model looks like, and the hub cannot be asked."""


def own_folder(params: Params, name: str) -> Path | None:
    """Return the folder of a model that is on this machine; None if it is not."""
    if (model_folder(name) / MODEL).is_file():
        return ModelRecord.load(name).folder
    source = params.models.get(name)
    return source.path if isinstance(source, FolderModel) else None


def shapes_at_hand(params: Params, name: str) -> Shapes | None:
    """Return a model's shapes without a network; None where only the hub knows them, or the model is not made yet."""
    if known := recorded(params.models.get(name)):
        return known.shapes()
    folder = own_folder(params, name)
    return read_shapes(folder) if folder else None


def shapes_of(params: Params, name: str) -> Shapes:
    """Return a model's shapes, by its configuration on the hub if they are not at hand.

    Raises:
        NotAtHand: the configuration is not available.
        UserError: it is not that of a causal LM.
    """
    return shapes_at_hand(params, name) or read_shapes(_hub_folder(params, name))


def describe_model(params: Params, name: str) -> Described:
    """Describe a model, by its configuration on the hub if nothing is at hand.

    Raises:
        NotAtHand: the configuration is not available.
        UserError: it is not that of a causal LM.
    """
    if known := recorded(params.models.get(name)):
        return known.described()
    return describe(own_folder(params, name) or _hub_folder(params, name))


def _hub_folder(params: Params, name: str) -> Path:
    source = params.models.get(name)
    if isinstance(source, HubModel):
        try:
            return fetch_hub_config(source)
        except UserError as error:
            raise NotAtHand(str(error)) from error
    stage = "train-model" if name in params.trainings else "fetch-model"
    raise NotAtHand(f"model {name} is not there yet; `dvc repro {stage}@{name}` makes it")
