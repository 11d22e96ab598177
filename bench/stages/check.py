"""check: everything that can be known to be wrong before hours are spent on it."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from bench.compose import CONF, as_composed, composed, overrides_of
from bench.config import PARAMS, Params
from bench.models import RECORD, ModelRecord
from bench.paths import model_folder
from bench.sources import FolderModel, HubModel
from swq.errors import UserError

FEW = 8

if TYPE_CHECKING:
    from swq.models.adapter import DecoderModel


def check(params: Params, keys: Collection[str] | None = None) -> str:
    """Check each cell against its model's shapes, for the models whose configuration is at hand or on the hub.

    `keys` names the cells that are going to run; None means all.

    Raises:
        UserError: a scheme does not fit a model, or a text window is longer than a model's context.
    """
    from swq.models.adapter import DecoderModel

    keys = params.cells if keys is None else keys
    unknown = []
    for name in dict.fromkeys(params.cells[key].model for key in keys):
        try:
            weights = config_folder(params, name)
        except UserError as error:
            unknown.append(str(error))
            continue
        if weights is None:
            unknown.append(f"{name} is not there yet")
            continue
        model = DecoderModel.skeleton(weights)
        _check_schemes(params, name, model)
        _check_lengths(params, name, model)
    later = "".join(_notes(params, keys))
    later += f"; not compared with the shapes of every model: {'; '.join(unknown)}" if unknown else ""
    cells = f"{len(keys)} of {len(params.cells)}" if len(keys) < len(params.cells) else str(len(keys))
    return f"params.yaml is valid: suite {params.suite}, {cells} cells: {_few(keys)}{later}"


def _few(keys: Collection[str]) -> str:
    """Return names in a line that people read to its end."""
    shown = list(keys)[:FEW]
    return ", ".join(shown) + (f" and {len(keys) - FEW} more" if len(keys) > FEW else "")


def config_folder(params: Params, name: str) -> Path | None:
    """Return a folder with a model's configuration, from the hub if need be; None if it is still to be made.

    Raises:
        UserError: the hub does not give it.
    """
    if (model_folder(name) / RECORD).is_file():
        return ModelRecord.load(name).folder
    source = params.models.get(name)
    if isinstance(source, HubModel):
        from bench.hub import fetch_hub_config

        return fetch_hub_config(source)
    return source.path if isinstance(source, FolderModel) else None


def _notes(params: Params, keys: Collection[str]) -> Iterator[str]:
    """Say what is no mistake in the file, but would still surprise."""
    from bench.runtime import has_gpu

    half = [key for key in keys if params.cells[key].precision == "16-mixed"]
    if half and not has_gpu(params.runtime):
        yield f"; there is no GPU here, which precision 16-mixed needs (else add precision: 32-true): {_few(half)}"
    if CONF.is_dir() and PARAMS.is_file():
        text = PARAMS.read_text(encoding="utf-8")
        command = shlex.join([params.suite, *(overrides := overrides_of(text))])
        try:
            current = yaml.safe_load(composed(params.suite, overrides))
        except UserError as error:
            yield f"; conf/ says something else by now: {error}"
        else:
            if current != yaml.safe_load(text):
                compose = f"`python -m bench compose {command}"
                yield (
                    f"; conf/ says something else by now: {compose}` takes it over"
                    if as_composed(text)
                    else f"; it was edited by hand: move that into conf/, or {compose} --force` drops it"
                )


def _check_schemes(params: Params, name: str, model: DecoderModel) -> None:
    for key, cell in params.cells.items():
        if cell.model == name and cell.scheme is not None:
            if cell.method.needs_pairs:
                model.require_pairs(f"cells.{key}: {cell.method_name}")
            for linear, module in model.linears(0).items():
                try:
                    cell.scheme.group(module.weight)
                except UserError as error:
                    raise UserError(f"cells.{key}: {linear} of model {name}: {error}") from error


def _check_lengths(params: Params, name: str, model: DecoderModel) -> None:
    context = getattr(model.model.config, "max_position_embeddings", None)
    lengths = {f"calibrations.{k}.seq_len": c.seq_len for k, c in params.calibrations.items() if c.model == name}
    lengths["protocol.perplexity.seq_len"] = params.protocol.perplexity.seq_len
    for place, length in lengths.items():
        if context and length > context:
            raise UserError(f"{place}: {length} tokens are more than model {name} takes (allowed: up to {context})")
