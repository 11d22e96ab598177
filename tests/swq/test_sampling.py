"""The published samplings draw what their authors' code draws, and say so when a text is too small for them."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import Tensor

from swq.calibration import awq_packed, gptq_documents, gptq_joined
from swq.errors import UserError

LENGTHS = [3, 40, 9, 8, 25, 0, 17, 8, 100, 5]
DOCUMENTS = [torch.arange(length) + 1000 * index for index, length in enumerate(LENGTHS)]


def document(index: int) -> Tensor:
    return DOCUMENTS[index]


def test_joined_windows_start_where_the_published_code_starts() -> None:
    text = torch.arange(500)
    random.seed(2)  # as the published code does
    starts = [random.randint(0, 500 - 16 - 1) for _ in range(6)]
    assert gptq_joined(text, 6, 16, seed=2)[:, 0].tolist() == starts
    assert torch.equal(gptq_joined(text, 6, 16, seed=2), torch.stack([text[s : s + 16] for s in starts]))
    assert not torch.equal(gptq_joined(text, 6, 16, seed=3), gptq_joined(text, 6, 16, seed=2))


def test_sampling_leaves_the_global_generators_alone() -> None:
    random.seed(0)
    wanted = random.Random(0).random()
    before = torch.get_rng_state()
    gptq_joined(torch.arange(99), 3, 8, seed=5)
    gptq_documents(document, len(DOCUMENTS), 3, 8, seed=5)
    assert random.random() == wanted and torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("seed", [0, 42])
def test_documents_are_drawn_until_one_is_long_enough(seed: int) -> None:
    random.seed(seed)
    wanted = []
    while len(wanted) < 12:
        drawn = document(random.randint(0, len(DOCUMENTS) - 1))
        if len(drawn) > 8:
            start = random.randint(0, len(drawn) - 8 - 1)
            wanted.append(drawn[start : start + 8])
    assert torch.equal(gptq_documents(document, len(DOCUMENTS), 12, 8, seed), torch.stack(wanted))


def test_packed_documents_are_the_short_ones_in_shuffled_order() -> None:
    order = np.random.default_rng(42).permutation(len(DOCUMENTS))  # datasets.Dataset.shuffle(seed=42) takes this one
    short = [DOCUMENTS[i] for i in order if 0 < LENGTHS[i] <= 25][:5]
    joined = torch.cat(short)
    windows = awq_packed(document, len(DOCUMENTS), 5, 25, seed=42)
    assert torch.equal(windows.flatten(), joined[: len(joined) // 25 * 25]) and windows.shape[1] == 25


def test_shuffle_is_that_of_datasets() -> None:
    from datasets import Dataset

    shuffled = Dataset.from_dict({"row": list(range(50))}).shuffle(seed=42)["row"]
    assert list(shuffled) == np.random.default_rng(42).permutation(50).tolist()


def test_texts_that_are_too_small_are_named() -> None:
    with pytest.raises(UserError, match="has 16 tokens; windows of 16"):
        gptq_joined(torch.arange(16), 1, 16, seed=0)
    assert gptq_joined(torch.arange(17), 3, 16, seed=0)[:, 0].tolist() == [0, 0, 0]
    with pytest.raises(UserError, match="none of 10 documents is longer than 100 tokens"):
        gptq_documents(document, len(DOCUMENTS), 1, 100, seed=0)
    with pytest.raises(
        UserError, match="8 of 10 documents have 1 to 40 tokens, 115 in all; 9 documents were asked for"
    ):
        awq_packed(document, len(DOCUMENTS), 9, 40, seed=0)
