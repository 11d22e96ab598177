"""What blocks receive beside the hidden states is taken from one sample, so all samples must share it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from swq.errors import UserError
from swq.models.adapter import DecoderModel
from tests.support.families import tiny_model

TOKENS = torch.arange(4 * 8).reshape(4, 8)  # every sample is another, and the blocks' inputs with it

WAYS: dict[str, Callable[[Tensor], Any]] = {
    "tensor": lambda value: value,
    "number": lambda value: value.item(),
    "tuple": lambda value: (1, value),
    "dict": lambda value: {"full": torch.zeros(2), "sliding": [value]},
    "object": lambda value: SimpleNamespace(layers=[SimpleNamespace(keys=value)]),
    "type": lambda value: value if value > 0 else None,
    "shape": lambda value: torch.zeros(1 + int(value > 0)),
}


def passing(given: Callable[[Tensor], dict[str, Any]], blocks: slice = slice(None)) -> DecoderModel:
    """Return a model that passes some of its blocks more than usual, which it makes from a block's input (1, T, C)."""
    model = tiny_model("llama")

    def add(
        _: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
        return args, kwargs | given(args[0])

    for block in model.blocks[blocks]:
        block.register_forward_pre_hook(add, with_kwargs=True)
    return model


def sign_of(hidden: Tensor) -> Tensor:
    return hidden.sum().sign()


def test_samples_of_this_test_differ() -> None:
    hidden, _ = tiny_model("llama").first_inputs(TOKENS)
    signs = [int(sign_of(sample)) for sample in hidden.split(1)]
    assert len(set(signs)) == 2, "no argument of the tests below would depend on the sample"


@pytest.mark.parametrize("way", WAYS)
def test_argument_that_depends_on_the_sample_is_refused(way: str) -> None:
    """Each block would be trained on the last sample's alone, and nothing would say so."""
    model = passing(lambda hidden: {"extra": WAYS[way](sign_of(hidden))}, slice(1, 2))
    with pytest.raises(
        UserError, match=r"^model.layers.1 receives another 'extra' for calibration sample \d than for sample 0\. "
    ) as said:
        model.first_inputs(TOKENS)
    assert "\n" not in str(said.value)
    assert not any("forward" in vars(block) for block in model.blocks)


def test_argument_that_some_samples_lack_is_refused() -> None:
    model = passing(lambda hidden: {"extra": 1} if sign_of(hidden) > 0 else {})
    with pytest.raises(UserError, match=r"^model.layers.0 receives another 'extra'"):
        model.first_inputs(TOKENS)


@pytest.mark.parametrize("way", WAYS)
def test_arguments_of_the_same_values_are_shared(way: str) -> None:
    """A model makes most of its arguments anew for every sample."""
    model = passing(lambda hidden: {"extra": WAYS[way](torch.ones(()))})
    hidden, kwargs = model.first_inputs(TOKENS)
    assert len(hidden) == len(TOKENS) and all("extra" in given for given in kwargs)


def test_argument_that_blocks_share_is_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mask has the square of a sample's length in numbers, and a model many blocks."""
    compared = []
    equal = torch.equal

    def counted(one: Tensor, other: Tensor) -> bool:
        compared.append(one.shape)
        return equal(one, other)

    model = tiny_model("mistral", num_hidden_layers=4)
    monkeypatch.setattr(torch, "equal", counted)
    model.first_inputs(TOKENS)
    n_tensors = 4  # the mask, the positions, and the two that rotate queries and keys
    assert len(compared) == n_tensors * (len(TOKENS) - 1)


def test_object_that_holds_itself_is_compared() -> None:
    def made(hidden: Tensor) -> dict[str, Any]:
        ring = SimpleNamespace(value=1)
        ring.itself = ring
        return {"ring": ring}

    assert len(passing(made).first_inputs(TOKENS)[1]) == 2
