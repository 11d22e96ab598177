"""A document's choices side by side: one row of tokens for all of them, or one row each.

The choices of a document share its context. In a packed row, the tokens that all choices begin with stand once, and
behind them each choice's own tokens. A choice sees the shared tokens and itself. Its positions count on from the shared
ones. So the model computes for every token what it would compute in a row with that choice alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch
from torch import Tensor

SHARED, PADDING = 0, -1  # segments of a row; a choice's own tokens are segment 1 and up


@dataclass(frozen=True)
class Choice:
    """One choice behind its context, as tokens.

    Attributes:
        inputs: what the model reads: context and choice without the last token, cut on the left to the model's length.
        targets: the choice's tokens. The last len(targets) positions of `inputs` predict them.
    """

    inputs: list[int]
    targets: list[int]

    @classmethod
    def of(cls, context: list[int], continuation: list[int], max_length: int) -> Choice:
        """Cut as lm-eval does: from the left, to one token more than the model reads."""
        return cls((context + continuation)[-(max_length + 1) :][:-1], continuation)


@dataclass(frozen=True)
class Row:
    """One row of a batch.

    Attributes:
        tokens: what the model reads.
        positions: the position of each.
        segments: which tokens belong together; every token sees those of segment `SHARED` and of its own, before it.
        read: for each of its choices, the places in the row that predict the choice's tokens.
        choices: the choices, by their index among all requests.
    """

    tokens: list[int]
    positions: list[int]
    segments: list[int]
    read: list[list[int]]
    choices: list[int]

    @property
    def side_by_side(self) -> bool:
        """Whether the last choice stands behind another one's own tokens."""
        return len(self.tokens) > self.positions[-1] + 1


def pack(choices: Sequence[tuple[int, Choice]]) -> Row:
    """Lay the choices of one document, each with its index among all requests, out in one row, the longest last."""
    choices = sorted(choices, key=lambda choice: len(choice[1].inputs))
    shared = _n_shared([choice.inputs for _, choice in choices])
    row = Row(choices[0][1].inputs[:shared], list(range(shared)), [SHARED] * shared, [], [])
    for segment, (index, choice) in enumerate(choices, start=1):
        before = len(row.tokens) - shared  # tokens of other choices between the shared ones and this one's own
        own = choice.inputs[shared:]
        row.tokens.extend(own)
        row.positions.extend(range(shared, len(choice.inputs)))
        row.segments.extend([segment] * len(own))
        places = range(len(choice.inputs) - len(choice.targets), len(choice.inputs))
        row.read.append([place if place < shared else before + place for place in places])
        row.choices.append(index)
    return row


def _n_shared(lists: Sequence[list[int]]) -> int:
    """Return how many tokens all lists begin with."""
    alike = takewhile(lambda tokens: len(set(tokens)) == 1, zip(*lists, strict=False))
    return sum(1 for _ in alike)


def unpacked(choices: Sequence[tuple[int, Choice]]) -> list[Row]:
    """Lay each choice out in a row of its own."""
    return [pack([choice]) for choice in choices]


def batches(rows: Sequence[Row], max_tokens: int) -> Iterator[list[Row]]:
    """Yield batches of at most `max_tokens` tokens with their padding, the longest rows first; a row that is longer is
    a batch of its own. They follow from the rows alone."""
    batch: list[Row] = []
    for row in sorted(rows, key=lambda row: (-len(row.tokens), row.choices)):
        if batch and (len(batch) + 1) * len(batch[0].tokens) > max_tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


@dataclass(frozen=True)
class Batch:
    """Rows as tensors, padded on the right: `tokens`, `positions` and `segments` are (B, T) int64."""

    tokens: Tensor
    positions: Tensor
    segments: Tensor

    @classmethod
    def of(cls, rows: Sequence[Row], device: torch.device) -> Batch:
        def padded(lists: list[list[int]], value: int) -> Tensor:
            width = max(map(len, lists))
            return torch.tensor([[*given, *[value] * (width - len(given))] for given in lists], device=device)

        return cls(
            padded([row.tokens for row in rows], 0),
            padded([row.positions for row in rows], 0),
            padded([row.segments for row in rows], PADDING),
        )

    def mask(self, dtype: torch.dtype) -> Tensor:
        """Return what is added to the attention's scores, (B, 1, T, T): 0 where a token (row) sees another (column),
        the smallest number of `dtype` elsewhere."""
        length = self.tokens.shape[1]
        earlier = torch.ones(length, length, dtype=torch.bool, device=self.tokens.device).tril()
        seer, seen = self.segments.unsqueeze(2), self.segments.unsqueeze(1)
        sees = earlier & ((seen == SHARED) | (seen == seer))
        hidden = torch.full(sees.shape, torch.finfo(dtype).min, dtype=dtype, device=sees.device)
        return hidden.masked_fill_(sees, 0).unsqueeze(1)
