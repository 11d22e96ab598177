"""A corpus's texts as tokens: calibration samples, and the windows that perplexity is measured on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import torch
from torch import Tensor, nn

from bench.config.protocol import ScoredText
from bench.config.sections import Calibration
from bench.inputs.models import tokenize
from bench.store.paths import text_file
from swq.calibration import awq_packed, gptq_documents, gptq_joined, sample_windows
from swq.errors import UserError
from swq.perplexity import text_windows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Text:
    """One text of a corpus: passages, tokenized together or one at a time.

    Attributes:
        n_passages: number of passages. They stay on disk, mapped; as strings, the Pile's validation split takes
            gigabytes.
        start: the start token that every window is to begin with. Then no passage begins with one. None leaves it to
            the tokenizer whether a text begins with a start token, as the published recipes do.

    Raises:
        UserError: the text is missing, or windows are to begin with a start token and the tokenizer has none.
    """

    def __init__(self, corpus: Path, name: str, tokenizer: PreTrainedTokenizerBase, start_token: bool = False) -> None:
        path = text_file(corpus, name)
        if not path.is_file():
            raise UserError(f"there is no {path}; run the stage that writes it")
        with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as stream:
            self._passages = stream.read_all()["text"]
        self.n_passages = len(self._passages)
        self._tokenizer = tokenizer
        self.start: int | None = tokenizer.bos_token_id if start_token else None
        if start_token and self.start is None:
            raise UserError("start_token: windows are to begin with a start token, and the model's tokenizer has none")

    def joined(self) -> Tensor:
        """Return (L,) int64: all passages, with a blank line between them."""
        return self._tokens(self._passages.to_pylist())

    def document(self, index: int) -> Tensor:
        """Return (L,) int64: one passage, unchanged."""
        return self._tokens([self._passages[index].as_py()])

    def stripped_document(self, index: int) -> Tensor:
        """Return (L,) int64: one passage without leading and trailing whitespace."""
        return self._tokens([self._passages[index].as_py().strip()])

    def room(self, seq_len: int) -> int:
        """Return how many of a window's tokens come from the text."""
        return seq_len if self.start is None else seq_len - 1

    def begun(self, windows: Tensor) -> Tensor:
        """Return windows (n, room) with the start token before each, if there is one."""
        return windows if self.start is None else nn.functional.pad(windows, (1, 0), value=self.start)

    def _tokens(self, passages: list[str]) -> Tensor:
        tokens = torch.tensor(tokenize(self._tokenizer, passages), dtype=torch.int64)
        return tokens[1:] if self.start is not None and tokens[:1].tolist() == [self.start] else tokens


def calibration_samples(text: Text, settings: Calibration) -> Tensor:
    """Return the samples (n, seq_len) int64 that a calibration asks for."""
    size = (settings.n_samples, text.room(settings.seq_len), settings.seed)
    if settings.sampling == "gptq-documents":
        return text.begun(gptq_documents(text.document, text.n_passages, *size))
    if settings.sampling == "awq-packed":
        return text.begun(awq_packed(text.stripped_document, text.n_passages, *size))
    draw = gptq_joined if settings.sampling == "gptq-joined" else sample_windows
    return text.begun(draw(text.joined(), *size))


def scored_windows(text: Text, settings: ScoredText, seq_len: int) -> Tensor:
    """Return the windows (n, seq_len) int64 that perplexity is measured on."""
    room = text.room(seq_len)
    if settings.sampling == "gptq-documents":
        assert settings.n_windows is not None
        documents = gptq_documents(text.document, text.n_passages, settings.n_windows, room, settings.seed)
        return text.begun(documents)
    return text.begun(text_windows(text.joined(), room, settings.n_windows))
