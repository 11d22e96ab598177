"""check: everything that can be known to be wrong before hours are spent on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from bench.compose import CONF, composed
from bench.config import PARAMS, FolderModel, Params
from bench.models import RECORD, ModelRecord
from bench.paths import model_folder
from swq.errors import UserError

if TYPE_CHECKING:
    from swq.models.adapter import DecoderModel


def check(params: Params) -> str:
    """Check each cell against its model's shapes, for the models that are at hand.

    Raises:
        UserError: a scheme does not fit a model, or a text window is longer than a model's context.
    """
    from swq.models.adapter import DecoderModel

    unknown = []
    for name, source in (params.models | params.trainings).items():
        if (model_folder(name) / RECORD).is_file():
            weights = Path(ModelRecord.load(name).weights)
        elif isinstance(source, FolderModel):
            weights = source.path
        else:
            unknown.append(name)
            continue
        model = DecoderModel.skeleton(weights)
        _check_schemes(params, name, model)
        _check_lengths(params, name, model)
    later = "".join(_notes(params))
    later += f"; not fetched yet, so schemes were not compared with its shapes: {', '.join(unknown)}" if unknown else ""
    return f"params.yaml is valid: suite {params.suite}, {len(params.cells)} cells: {', '.join(params.cells)}{later}"


def _notes(params: Params) -> Iterator[str]:
    """Say what is no mistake in the file, but would still surprise."""
    from bench.runtime import has_gpu

    half = [key for key, cell in params.cells.items() if cell.precision == "16-mixed"]
    if half and not has_gpu(params.runtime):
        yield f"; there is no GPU here, which precision 16-mixed needs (else add precision: 32-true): {', '.join(half)}"
    if CONF.is_dir() and PARAMS.is_file():
        try:
            current = yaml.safe_load(composed(params.suite))
        except UserError as error:
            yield f"; conf/ says something else by now: {error}"
        else:
            if current != yaml.safe_load(PARAMS.read_text(encoding="utf-8")):
                yield f"; conf/ says something else by now: `python -m bench compose {params.suite}` takes it over"


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
