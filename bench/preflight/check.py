"""check: find every mistake that can be found before hours are spent on a run."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator
from pathlib import Path

from bench.config.compose import CONF, origin_of, overrides_of
from bench.config.params import PARAMS, Params
from bench.config.sources import FolderCorpus
from bench.preflight.at_hand import NotAtHand, describe_model, own_folder, shapes_of
from bench.preflight.described import Described
from bench.preflight.recorded import contradiction, recorded
from bench.preflight.words import few
from swq.errors import UserError

FEW = 8


def check(params: Params, keys: Collection[str] | None = None) -> str:
    """Check each cell against its model's shapes, for models whose shapes are recorded, on this machine or on the hub.

    `keys` names the cells that will run; None means all.

    Raises:
        UserError: a scheme does not fit a model, a text window is longer than a model's context, or a corpus folder
            lacks a task.
    """
    _check_tasks(params)
    keys = params.cells if keys is None else keys
    unknown = []
    for name in dict.fromkeys(params.cells[key].model for key in keys):
        try:
            model = describe_model(params, name)
        except NotAtHand as error:
            unknown.append(str(error))
            continue
        _check_recorded(params, name)
        _check_schemes(params, name, model)
        _check_start_blocks(params, name)
        _check_lengths(params, name, model)
    notes = [*_notes(params, keys), *(f"shapes are not checked yet: {reason}" for reason in unknown)]
    cells = f"{len(keys)} of {len(params.cells)}" if len(keys) < len(params.cells) else str(len(keys))
    valid = f"params.yaml is valid: suite {params.suite}, {cells} cell{'s' * (cells != '1')}: {few(keys, FEW)}"
    return "\n".join([valid, *(f"note: {note}" for note in notes)])


def _notes(params: Params, keys: Collection[str]) -> Iterator[str]:
    """Say what is not a mistake in the file, but would still surprise."""
    yield from _without_gpu(params, keys)
    yield from _start_tokens(params, keys)
    if CONF.is_dir() and PARAMS.is_file():
        yield from _not_what_conf_says(PARAMS.read_text(encoding="utf-8"), params.suite)


def _without_gpu(params: Params, keys: Collection[str]) -> Iterator[str]:
    """Say which cells train in a precision that this machine lacks, or is slow at."""
    half, brain = ([k for k in keys if params.cells[k].precision == p] for p in ("16-mixed", "bf16-mixed"))
    if not half and not brain:
        return
    from bench.preflight.bfloat16 import missing_instructions
    from bench.runtime import has_gpu

    if has_gpu(params.runtime):
        return
    if half:
        yield f"precision 16-mixed needs a GPU, and there is none here (or add precision: 32-true): {few(half, FEW)}"
    if brain and (missing := missing_instructions()):
        yield (
            f"precision bf16-mixed is emulated on this CPU, which has no {' or '.join(missing)}: results are right, but"
            f" training is slower than in float32 (precision: 32-true), up to many times: {few(brain, FEW)}"
        )


def _start_tokens(params: Params, keys: Collection[str]) -> Iterator[str]:
    """Say where windows begin with a start token in calibration but not in scoring, or the other way round."""
    scored = params.protocol.perplexity.start_token
    used = dict.fromkeys(name for key in keys if (name := params.cells[key].calibration))
    for name in used:
        if params.calibrations[name].start_token != scored:
            yes, no = ("perplexity", f"calibration {name}") if scored else (f"calibration {name}", "perplexity")
            yield f"windows begin with a start token in {yes}, but not in {no} (start_token)"


def _not_what_conf_says(text: str, suite: str) -> Iterator[str]:
    """Say that params.yaml differs from conf/, and which command adopts or drops the difference."""
    try:
        origin = origin_of(text)
    except UserError as error:
        yield f"params.yaml cannot be compared with conf/: {error}"
        return
    if not origin.current:
        yield f"conf/ has no suite {suite!r} that it could be compared with"
        return
    compose = f"`python -m bench compose {shlex.join([suite, *overrides_of(text)])}"
    if not origin.same:
        yield (
            f"params.yaml was edited by hand: move the change into conf/, or {compose} --force` drops it"
            if origin.by_hand
            else f"conf/ has changed since params.yaml was composed from it; {compose}` takes the change over"
        )


def _check_recorded(params: Params, name: str) -> None:
    known, folder = recorded(params.models.get(name)), own_folder(params, name)
    if known and folder and (wrong := contradiction(known, folder)):
        raise UserError(wrong)


def _check_schemes(params: Params, name: str, model: Described) -> None:
    for key, cell in params.cells.items():
        if cell.model == name and cell.scheme is not None:
            if cell.method.needs_pairs and not model.has_pairs:
                _require_pairs(own_folder(params, name), f"cells.{key}: {cell.method_name}")
            try:
                cell.scheme.check_inputs(model.inputs)
                cell.method.check_shapes(model.shapes)
                if cell.bias_compensation and not model.has_biases:
                    _check_may_get_bias(model.model_type)
            except UserError as error:
                raise UserError(f"cells.{key}: model {name}: {error}") from error


def _check_may_get_bias(model_type: str) -> None:
    from swq.models.biases import may_get_bias, no_biases  # imports transformers, for this case only

    if not may_get_bias(model_type):
        raise UserError(no_biases(model_type))


def _check_start_blocks(params: Params, name: str) -> None:
    own = {key: cell.loss.sw_start_block for key, cell in params.cells.items() if cell.model == name and cell.loss}
    if not any(own.values()):
        return  # shapes may take seconds
    n_blocks = shapes_of(params, name).blocks
    for key, start in own.items():
        if start >= n_blocks:
            raise UserError(
                f"cells.{key}: sw_start_block {start} leaves no block of model {name} for SW (allowed: up to"
                f" {n_blocks - 1})"
            )


def _require_pairs(folder: Path | None, method: str) -> None:
    from swq.models.adapter import DecoderModel  # imports torch, for this case only

    if folder is None:
        raise UserError(
            f"{method} moves scales between norms and linears, and this model has no such pair (conf/shapes.yaml)"
        )
    DecoderModel.skeleton(folder).require_pairs(method)


def _check_tasks(params: Params) -> None:
    source = params.corpora[params.protocol.corpus]
    if not isinstance(source, FolderCorpus) or not source.path.is_dir():
        return
    from bench.prepare.readers import ENDINGS  # imports `datasets`, for this case only

    for task in params.protocol.tasks:
        if not any((source.path / f"{task}{ending}").is_file() for ending in ENDINGS):
            raise UserError(f"protocol.tasks: corpus folder {source.path} holds no {task}.json (nor {task}.jsonl, ...)")


def _check_lengths(params: Params, name: str, model: Described) -> None:
    lengths = {f"calibrations.{k}.seq_len": c.seq_len for k, c in params.calibrations.items() if c.model == name}
    lengths["protocol.perplexity.seq_len"] = params.protocol.perplexity.seq_len
    for place, length in lengths.items():
        if model.context and length > model.context:
            raise UserError(
                f"{place}: {length} tokens are more than model {name} takes (allowed: up to {model.context})"
            )
