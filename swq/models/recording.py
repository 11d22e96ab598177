"""What flows into the blocks of a model, noted without running them, and whether it is the same for two samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from swq.errors import UserError

BlockKwargs = dict[str, Any]  # what a model passes to a block beside the hidden states


@contextmanager
def recording(blocks: nn.ModuleList) -> Iterator[list[tuple[Tensor, BlockKwargs]]]:
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


def require_same(
    first: list[BlockKwargs], other: list[BlockKwargs], sample: int, name_of: Callable[[int], str]
) -> None:
    """Raise unless two samples share every argument of every block.

    Args:
        first: each block's arguments for the first sample.
        other: the same for the sample of index `sample`.
        sample: its index, for the message.
        name_of: from a block's index to its path in the model.

    Raises:
        UserError: names the block and the argument.
    """
    known: dict[tuple[int, int], bool] = {}  # blocks mostly share their arguments, which are then compared once
    for index, (ours, theirs) in enumerate(zip(first, other, strict=True)):
        for name in (*ours, *sorted(theirs.keys() - ours.keys())):
            if not (name in ours and name in theirs and _same(ours[name], theirs[name], known)):
                raise UserError(
                    f"{name_of(index)} receives another {name!r} for calibration sample {sample} than for sample 0."
                    " Blocks run one by one, with the arguments of one sample for all, so this model cannot be"
                    " quantized with calibration"
                )


def _same(one: Any, other: Any, known: dict[tuple[int, int], bool]) -> bool:
    """Say whether two arguments are the same object or hold the same values. What shows no values differs."""
    if one is other:
        return True
    pair = id(one), id(other)
    if pair not in known:
        known[pair] = True  # for an object that holds itself
        known[pair] = type(one) is type(other) and _same_values(one, other, known)
    return known[pair]


def _same_values(one: Any, other: Any, known: dict[tuple[int, int], bool]) -> bool:
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key], known) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(_same(*both, known) for both in zip(one, other, strict=True))
    if attributes := getattr(one, "__dict__", None):
        return _same_values(attributes, vars(other), known)
    return bool(one == other)
