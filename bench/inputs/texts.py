"""A corpus's texts as tokens: calibration samples, and the windows that perplexity is measured on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import torch
from torch import Tensor

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
    """One text of a corpus: passages, tokenized together or one at a time, with the tokenizer's own start token.

    Attributes:
        n_passages: number of passages. They stay on disk, mapped; as strings, the Pile's validation split takes
            gigabytes.
    """

    def __init__(self, corpus: Path, name: str, tokenizer: PreTrainedTokenizerBase) -> None:
        path = text_file(corpus, name)
        if not path.is_file():
            raise UserError(f"there is no {path}; run the stage that writes it")
        with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as stream:
            self._passages = stream.read_all()["text"]
        self.n_passages = len(self._passages)
        self._tokenizer = tokenizer

    def joined(self) -> Tensor:
        """Return (L,) int64: all passages, with a blank line between them."""
        return self._tokens(self._passages.to_pylist())

    def document(self, index: int) -> Tensor:
        """Return (L,) int64: one passage, unchanged."""
        return self._tokens([self._passages[index].as_py()])

    def stripped_document(self, index: int) -> Tensor:
        """Return (L,) int64: one passage without leading and trailing whitespace."""
        return self._tokens([self._passages[index].as_py().strip()])

    def _tokens(self, passages: list[str]) -> Tensor:
        return torch.tensor(tokenize(self._tokenizer, passages), dtype=torch.int64)


def calibration_samples(text: Text, settings: Calibration) -> Tensor:
    """Return the samples (n, seq_len) int64 that a calibration asks for."""
    size = (settings.n_samples, settings.seq_len, settings.seed)
    if settings.sampling == "gptq-documents":
        return gptq_documents(text.document, text.n_passages, *size)
    if settings.sampling == "awq-packed":
        return awq_packed(text.stripped_document, text.n_passages, *size)
    return (gptq_joined if settings.sampling == "gptq-joined" else sample_windows)(text.joined(), *size)


def scored_windows(text: Text, settings: ScoredText, seq_len: int) -> Tensor:
    """Return the windows (n, seq_len) int64 that perplexity is measured on."""
    if settings.sampling == "gptq-documents":
        assert settings.n_windows is not None
        return gptq_documents(text.document, text.n_passages, settings.n_windows, seq_len, settings.seed)
    return text_windows(text.joined(), seq_len, settings.n_windows)
