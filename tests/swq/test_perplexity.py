"""Perplexity: every token of a window but its first is predicted once."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from swq import perplexity
from swq.errors import UserError
from swq.models.adapter import DecoderModel
from swq.perplexity import text_windows, token_divergences, token_losses

CPU = torch.device("cpu")


@torch.no_grad()
@pytest.mark.parametrize("positions_at_once", [512, 7])
def test_losses_are_the_models_own(
    tiny_llama: DecoderModel, calibration: Tensor, monkeypatch: pytest.MonkeyPatch, positions_at_once: int
) -> None:
    """Against the loss that transformers computes from labels; pieces of the logits must not lose a position."""
    monkeypatch.setattr(perplexity, "POSITIONS_AT_ONCE", positions_at_once)
    for window in calibration[:3]:
        losses = token_losses(tiny_llama.model, window, CPU)
        assert losses.shape == (31,) and losses.dtype == torch.float32
        wanted = tiny_llama.model(window[None], labels=window[None]).loss
        torch.testing.assert_close(losses.mean(), wanted, rtol=1e-5, atol=0.0)


@torch.no_grad()
@pytest.mark.parametrize("positions_at_once", [512, 7])
def test_divergences_are_those_of_the_next_tokens_distributions(
    tiny_llama: DecoderModel, calibration: Tensor, monkeypatch: pytest.MonkeyPatch, positions_at_once: int
) -> None:
    """Against torch's own function in float64; a model does not diverge from itself."""
    monkeypatch.setattr(perplexity, "POSITIONS_AT_ONCE", positions_at_once)
    other = copy.deepcopy(tiny_llama.model)
    for parameter in other.parameters():
        parameter.mul_(1.1)
    for window in calibration[:3]:
        found = token_divergences(tiny_llama.model, other, window, CPU)
        full, changed = (
            lm(window[None]).logits[0, :-1].double().log_softmax(dim=-1) for lm in (tiny_llama.model, other)
        )
        wanted = torch.nn.functional.kl_div(changed, full, reduction="none", log_target=True).sum(dim=-1)
        assert found.shape == (31,) and found.dtype == torch.float32 and wanted.mean() > 1e-3
        torch.testing.assert_close(found, wanted.float(), rtol=1e-3, atol=1e-6)
        assert (token_divergences(other, other, window, CPU) == 0).all()


@pytest.mark.parametrize(("n_windows", "wanted"), [(None, 3), (3, 3), (2, 2), (1, 1)])
def test_windows_are_the_first_complete_ones(n_windows: int | None, wanted: int) -> None:
    assert torch.equal(text_windows(torch.arange(19), 6, n_windows), torch.arange(wanted * 6).reshape(wanted, 6))


@pytest.mark.parametrize(("length", "n_windows", "available"), [(19, 4, 3), (19, 0, 3), (5, None, 0)])
def test_text_that_is_too_short_is_refused(length: int, n_windows: int | None, available: int) -> None:
    asked = available if n_windows is None else n_windows
    with pytest.raises(UserError) as error:
        text_windows(torch.arange(length), 6, n_windows)
    assert str(error.value) == (
        f"perplexity: the text has {length} tokens, {available} windows of 6; {asked} were asked for"
    )
