"""What flows into the blocks of a model, noted without running them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any

from torch import Tensor, nn

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
