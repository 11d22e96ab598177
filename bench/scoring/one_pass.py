"""lm-eval's language model, with one forward pass a document and logits only where they are read.

Plain lm-eval reads a document's context again for each of its choices. It computes logits for every token, and reads
them where a choice's tokens are predicted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from math import isclose, isnan
from operator import le
from typing import TYPE_CHECKING, Any

import torch
from lm_eval.models.huggingface import HFLM
from torch import Tensor, nn
from torch.nn.functional import log_softmax
from tqdm import tqdm

from bench.scoring.documents import Batch, Choice, Row, batches, pack, unpacked
from bench.store.stage_output import say

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Answer = tuple[float, bool]  # log-likelihood of a choice in nats; whether it is what greedy decoding would write

ROWS_AT_ONCE = 64  # bounds the float32 copies of the logits
# How far log-likelihoods may lie apart, absolutely and as a share, before a document counts as scored wrongly.
FULL_TOLERANCE, HALF_TOLERANCE = 1e-4, 2e-2


class OnePass(HFLM):
    """lm-eval's `HFLM` with other forward passes. Tokens, truncation and requests are lm-eval's own.

    Args:
        model: a causal LM on its device.
        tokenizer: its tokenizer.
        max_tokens: of a batch, with padding.
        add_bos_token: whether a context begins with the tokenizer's first token.

    Attributes:
        unpacked_because: why the choices of the last task were scored one by one; None if they were packed.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_tokens: int, add_bos_token: bool
    ) -> None:
        super().__init__(pretrained=model, tokenizer=tokenizer, batch_size=1, add_bos_token=add_bos_token)
        self.max_tokens = max_tokens
        self.unpacked_because: str | None = None
        self._asked: list[tuple[str | None, int | None]] = []  # the document of each request
        self._shows_bar = True
        # Of rows whose last choice read as alone: tokens, last position, and whether choices stood side by side.
        self._passed: list[tuple[int, int, bool]] = []

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[Answer]:
        self._asked = [(request.task_name, request.doc_id) for request in requests]
        self._shows_bar = not disable_tqdm
        return super().loglikelihood(requests, disable_tqdm=True)  # it would show a bar for the tokenizer, too

    def _loglikelihood_tokens(self, requests: Sequence[Any], *_: Any, **__: Any) -> list[Answer]:
        """Score requests of one task: (texts, context tokens, continuation tokens) each."""
        choices = [Choice.of(context, continuation, self.max_length) for _, context, continuation in requests]
        documents = [list(group) for _, group in groupby(enumerate(choices), key=lambda pair: self._asked[pair[0]])]
        rows = [pack(document) for document in documents]
        self.unpacked_because = self._why_unpacked(rows, choices)
        if self.unpacked_because:
            say(f"{self._asked[0][0]}: choices are scored one by one: {self.unpacked_because}")
            rows = [row for document in documents for row in unpacked(document)]
        found: dict[int, Answer] = {}
        with tqdm(total=len(rows), desc=str(self._asked[0][0]), unit="row", disable=not self._shows_bar) as bar:
            for batch in batches(rows, self.max_tokens):
                found |= self._answers(batch, choices, packed=self.unpacked_because is None)
                bar.update(len(batch))
        return [found[index] for index in range(len(choices))]

    def _why_unpacked(self, rows: list[Row], choices: list[Choice]) -> str | None:
        """Say why this model cannot read these documents packed, None if it can.

        That is tried on the longest row in which choices stand side by side, and on the row with the longest choice. A
        model whose attention reaches only so far back, by places in a row or by positions, fails there.
        """
        several = [row for row in rows if row.side_by_side]
        tried = [max(several, key=lambda row: len(row.tokens))] if several else []
        tried.append(max(rows, key=lambda row: row.positions[-1]))  # the longest choice comes last in its row
        for row in tried:
            lengths = len(row.tokens), row.positions[-1], row.side_by_side
            if any(all(map(le, lengths, passed)) for passed in self._passed):
                continue
            if because := self._why_unlike(row, choices):
                return because
            self._passed.append(lengths)
        return None

    def _why_unlike(self, row: Row, choices: list[Choice]) -> str | None:
        """Say why the last choice of a row has another log-likelihood there than alone; None if it has the same."""
        last = row.choices[-1]
        ((alone, _),) = self._answers(unpacked([(last, choices[last])]), choices, packed=False).values()
        try:
            together, _ = self._answers([row], choices, packed=True)[last]
        except Exception as error:  # any: a model that does not take such a mask or positions may raise anything
            said = " ".join(str(error).split())[:120]
            return f"the model does not take several choices in one row ({type(error).__name__}: {said})"
        tolerance = FULL_TOLERANCE if self.model.dtype == torch.float32 else HALF_TOLERANCE
        if isclose(alone, together, rel_tol=tolerance, abs_tol=tolerance) or (isnan(alone) and isnan(together)):
            return None
        return f"the longest choice has {together:.6g} nats in one row with others, and {alone:.6g} alone"

    @torch.no_grad()
    def _answers(self, rows: list[Row], choices: Sequence[Choice], packed: bool) -> dict[int, Answer]:
        """Return the answers of a batch by the choices' indices."""
        batch = Batch.of(rows, self.device)
        width = batch.tokens.shape[1]
        read = [
            (index, [number * width + place for place in places])
            for number, row in enumerate(rows)
            for index, places in zip(row.choices, row.read, strict=True)
        ]
        places = sorted({place for _, of_choice in read for place in of_choice})
        among = {place: number for number, place in enumerate(places)}
        where = torch.tensor([among[place] for _, of_choice in read for place in of_choice], device=self.device)
        targets = torch.tensor([token for index, _ in read for token in choices[index].targets], device=self.device)
        layout = {"attention_mask": batch.mask(self.model.dtype), "position_ids": batch.positions} if packed else {}
        with _logits_at(self.model, torch.tensor(places, device=self.device)):
            logits = self.model(batch.tokens, use_cache=False, **layout).logits[0]
        values, greedy = (part.cpu() for part in _read(logits, where, targets))
        lengths = [len(of_choice) for _, of_choice in read]
        return {
            index: (value.sum().item(), bool(same.all()))
            for (index, _), value, same in zip(read, values.split(lengths), greedy.split(lengths), strict=True)
        }


def _read(logits: Tensor, where: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return log-probabilities of tokens, (N,) float32, and whether each token is its place's likeliest, (N,) bool.

    It takes the logarithm of the softmax by lm-eval's own function. That one's float32 sum over a vocabulary is off by
    up to 1e-4 nats a choice, so a more accurate one would differ from lm-eval's numbers.

    Args:
        logits: (R, vocabulary) of any floating dtype.
        where: (N,) int64, the row that each token is read in.
        targets: (N,) int64, the tokens.
    """
    values = torch.empty(where.shape, device=logits.device)
    greedy = torch.empty(where.shape, device=logits.device, dtype=torch.bool)
    for first in range(0, len(logits), ROWS_AT_ONCE):
        here = (where >= first) & (where < first + ROWS_AT_ONCE)
        piece = log_softmax(logits[first : first + ROWS_AT_ONCE], dim=-1, dtype=torch.float32)
        rows, tokens = where[here] - first, targets[here]
        values[here] = piece[rows, tokens]
        greedy[here] = piece.argmax(dim=-1)[rows] == tokens
    return values, greedy


@contextmanager
def _logits_at(model: PreTrainedModel, places: Tensor) -> Iterator[None]:
    """Let the model compute logits, (1, R, vocabulary), at R places of its flattened input (B * T) only.

    What it does to logits after its head, such as a soft cap, it does to these.
    """
    head: Any = model.get_output_embeddings()
    assert isinstance(head, nn.Module), "a causal LM has a head"

    def choose(_: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        return inputs[0].flatten(end_dim=-2)[places].unsqueeze(0)

    handle = head.register_forward_pre_hook(choose)
    try:
        yield
    finally:
        handle.remove()
