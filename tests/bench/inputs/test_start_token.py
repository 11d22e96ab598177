"""Windows that begin with the tokenizer's start token, in calibration and in scoring."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from bench.config.protocol import ScoredText
from bench.config.sections import Calibration
from bench.inputs.texts import Text, calibration_samples, scored_windows
from bench.prepare.corpus_folder import write_corpus
from bench.prepare.readers import from_folder
from swq.errors import UserError
from tests.support import tiny_suite


def plain_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return one that has a start token and does not use it by itself, as GPT-2's."""
    tokenizer = tiny_suite.write_tokenizer(folder)
    tokenizer.bos_token = "<|end|>"
    return tokenizer


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    tiny_suite.write_corpus(tmp_path / "in")
    write_corpus(from_folder(tmp_path / "in", tmp_path / "cache"), tmp_path / "out")
    return tmp_path / "out"


# OPT's puts its start token before every text by itself; then it is not counted twice.
@pytest.mark.parametrize("write", [plain_tokenizer, tiny_suite.write_opt_tokenizer])
@pytest.mark.parametrize("sampling", ["windows", "gptq-joined", "gptq-documents", "awq-packed"])
def test_a_window_is_the_start_token_and_text(
    corpus: Path, tmp_path: Path, write: Callable[[Path], PreTrainedTokenizerBase], sampling: str
) -> None:
    """Of the same text, with one token less of it."""
    tokenizer = write(tmp_path / "tokenizer")
    start = tokenizer.bos_token_id
    text = Text(corpus, "calibration", tokenizer, start_token=True)
    assert start not in text.joined().tolist() and start not in text.document(1).tolist()
    settings = {"model": "m", "corpus": "c", "n_samples": 8, "seed": 2, "sampling": sampling, "start_token": True}
    length = 61 if sampling == "awq-packed" else 9  # longer than some document
    found = calibration_samples(text, Calibration(**settings, seq_len=length))
    assert found.shape[1] == length and len(found) > 1
    everything = " ".join(map(str, [*text.joined().tolist(), 0, *text.stripped_document(0).tolist()]))
    for window in found.tolist():
        assert window[0] == start and start not in window[1:]
        assert sampling == "awq-packed" or " ".join(map(str, window[1:])) in everything


@pytest.mark.parametrize("write", [plain_tokenizer, tiny_suite.write_opt_tokenizer])
def test_scored_windows_follow_each_other(
    corpus: Path, tmp_path: Path, write: Callable[[Path], PreTrainedTokenizerBase]
) -> None:
    tokenizer = write(tmp_path / "tokenizer")
    text = Text(corpus, "perplexity", tokenizer, start_token=True)
    tokens = text.joined().tolist()
    windows = scored_windows(text, ScoredText(n_windows=2), 8).tolist()
    assert windows == [[tokenizer.bos_token_id, *tokens[:7]], [tokenizer.bos_token_id, *tokens[7:14]]]
    documents = scored_windows(text, ScoredText(n_windows=2, sampling="gptq-documents"), 8)
    assert documents[:, 0].tolist() == [tokenizer.bos_token_id] * 2


def test_a_tokenizer_without_a_start_token_is_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the model's tokenizer has none"):
        Text(corpus, "perplexity", tiny_suite.write_tokenizer(tmp_path / "tokenizer"), start_token=True)
