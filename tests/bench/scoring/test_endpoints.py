"""The KL divergence from full precision, and the right choice's log-probability."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.config.params import Params
from bench.inputs.models import ModelRecord
from bench.inputs.texts import Text, scored_windows
from bench.scoring.model import open_model
from bench.stages.reconstruct import reconstruct
from bench.stages.score import score
from bench.store.files import read_json
from bench.store.items import Item
from bench.store.paths import score_folder, token_divergences_file, token_losses_file
from swq.perplexity import token_divergences
from tests.support import tiny_suite
from tests.support.prepared import prepared

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Params]:
    """The tiny suite with FP and RTN scored, with KL on two windows."""
    folder = tmp_path_factory.mktemp("endpoints")
    with pytest.MonkeyPatch.context() as patch:
        values = tiny_suite.params()
        values["protocol"]["perplexity"]["kl_windows"] = 2
        made = prepared(folder, patch, values)
        for key in ("tiny-fp", "tiny-rtn"):
            reconstruct(made, key)
            score(made, key)
        yield made


def test_kl_is_measured_on_the_first_windows(params: Params) -> None:
    folder = score_folder("tiny-rtn")
    found = np.load(token_divergences_file(folder, "perplexity"))
    losses = np.load(token_losses_file(folder, "perplexity"))
    assert found.shape == (2, losses.shape[1]) and len(losses) == 4 and found.dtype == np.float32
    record = ModelRecord.load("tiny")
    full, quantized = (open_model(record, key, "float32", CPU) for key in (None, "tiny-rtn"))
    windows = torch.tensor(_windows(params))
    for row, window in zip(found, windows[:2], strict=True):
        assert np.array_equal(row, token_divergences(full, quantized, window, CPU).numpy())
    mean = read_json(folder / "summary.json")["divergence"]["perplexity"]
    assert mean == float(found.mean(dtype=np.float64)) > 0


def _windows(params: Params) -> list[list[int]]:
    text = Text(Path("data/corpora/words"), "perplexity", ModelRecord.load("tiny").tokenizer())
    settings = params.protocol.perplexity
    return scored_windows(text, settings.texts["perplexity"], settings.seq_len).tolist()


def test_full_precision_does_not_diverge_from_itself(params: Params) -> None:
    assert not np.load(token_divergences_file(score_folder("tiny-fp"), "perplexity")).any()
    assert read_json(score_folder("tiny-fp") / "summary.json")["divergence"] == {"perplexity": 0.0}


def item(*log_likelihoods: float, gold: int = 0) -> Item:
    return Item("piqa", 0, "hash", gold, log_likelihoods)


@pytest.mark.parametrize("gold", [0, 1, 2])
def test_log_probability_is_the_softmax_among_choices(gold: int) -> None:
    found = item(-10.0, -11.0, -13.0, gold=gold).log_probability
    total = sum(math.exp(value) for value in (-10.0, -11.0, -13.0))
    assert found == pytest.approx(math.log(math.exp((-10.0, -11.0, -13.0)[gold]) / total))


def test_log_probability_of_long_choices_stays_finite() -> None:
    assert item(-5000.0, -5000.0).log_probability == pytest.approx(-math.log(2))
    assert item(-9000.0, -1000.0).log_probability == pytest.approx(-8000.0)
