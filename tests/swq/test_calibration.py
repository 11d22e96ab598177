"""Calibration windows: the seed decides which are taken, none twice."""

from __future__ import annotations

import pytest
import torch

from swq.calibration import sample_windows
from swq.errors import UserError

LENGTH = 16
TEXT = torch.arange(20 * LENGTH + 5)  # every token names its position; the last five fill no window


def test_windows_are_whole_different_pieces_of_the_text() -> None:
    windows = sample_windows(TEXT, 7, LENGTH, seed=2)
    starts = windows[:, 0]
    assert windows.shape == (7, LENGTH) and windows.dtype == torch.int64
    assert torch.equal(windows, starts.unsqueeze(1) + torch.arange(LENGTH))
    assert (starts % LENGTH == 0).all()
    assert len(set(starts.tolist())) == 7


def test_seed_alone_decides_which_windows_are_taken() -> None:
    torch.manual_seed(0)
    first = sample_windows(TEXT, 7, LENGTH, seed=2)
    torch.manual_seed(1)
    assert torch.equal(sample_windows(TEXT, 7, LENGTH, seed=2), first)
    other = sample_windows(TEXT, 7, LENGTH, seed=3)
    assert set(other[:, 0].tolist()) != set(first[:, 0].tolist())


def test_all_windows_can_be_taken_in_random_order() -> None:
    starts = sample_windows(TEXT, 20, LENGTH, seed=2)[:, 0].tolist()
    assert sorted(starts) == list(range(0, 20 * LENGTH, LENGTH))
    assert starts != sorted(starts)


@pytest.mark.parametrize("n_samples", [21, 128])
def test_too_short_a_text_says_what_it_holds(n_samples: int) -> None:
    """Repeating windows instead would calibrate on less than the recipe says."""
    with pytest.raises(UserError) as error:
        sample_windows(TEXT, n_samples, LENGTH, seed=2)
    assert str(error.value) == (
        f"calibration: the text has 325 tokens, which is 20 windows of 16; {n_samples} were asked for"
    )
