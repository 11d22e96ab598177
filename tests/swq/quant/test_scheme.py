"""The field's notation for a scheme, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from swq.errors import UserError
from swq.quant.scheme import Scheme


@pytest.mark.parametrize(
    ("text", "n_bits", "group_size"),
    [("w2a16", 2, None), ("w3a16g64", 3, 64), ("w4a16g128", 4, 128), ("w8a16g1", 8, 1)],
)
def test_notation_is_read_and_written_back(text: str, n_bits: int, group_size: int | None) -> None:
    assert Scheme.parse(text) == Scheme(n_bits, group_size)
    assert str(Scheme(n_bits, group_size)) == text


@pytest.mark.parametrize(
    "text", ["", "w3", "3a16", "W3A16", "w3a16g", "w3a16g-64", "w3a16 ", "w3a16g9999999999", "w3a16g64sym", "xw3a16"]
)
def test_text_of_another_form_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UserError) as error:
        Scheme.parse(text)
    assert str(error.value) == f"scheme {text!r} is not of the form w<bits>a16 or w<bits>a16g<group>, e.g. w3a16g64"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("w4a8", r"scheme 'w4a8': only 16-bit activations are supported \(a16\)"),
        ("w9a16", r"scheme 'w9a16': weights of 9 bits are not supported \(allowed: w2, w3, w4, w8\)"),
        ("w16a16g64", "scheme 'w16a16g64': weights of 16 bits are not supported"),
        ("w03a16", "scheme 'w03a16': weights of 03 bits are not supported"),
        ("w4a16g0", "scheme 'w4a16g0': a group holds at least 1 weight"),
        ("w4a16g00", "scheme 'w4a16g00': a group holds at least 1 weight"),
    ],
)
def test_scheme_that_is_not_offered_is_refused_as_it_was_written(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Scheme.parse(text)


def test_numbers_that_are_not_offered_are_refused() -> None:
    with pytest.raises(UserError, match=r"n_bits 5 is not supported \(allowed: 2, 3, 4, 8\)"):
        Scheme(5)
    with pytest.raises(UserError, match="group_size 0 must be at least 1"):
        Scheme(3, 0)


@pytest.mark.parametrize(
    ("columns", "offered"), [(576, "16, 32, 64"), (320, "16, 32, 64"), (48, "16"), (65, "none of 16 to 256")]
)
def test_group_that_does_not_divide_the_row_names_those_that_do(columns: int, offered: str) -> None:
    with pytest.raises(UserError) as error:
        Scheme(3, 128).group(torch.zeros(4, columns))
    assert str(error.value) == (
        f"scheme w3a16g128: groups of 128 do not divide a row of {columns} input channels"
        f" (these do: {offered}; or leave the group out)"
    )


@pytest.mark.parametrize(
    ("group", "said"),
    [
        (48, "groups of 48 do not divide the 64 input channels of q (these fit every linear: 16, 32; or leave"),
        (64, "groups of 64 do not divide the 96 input channels of down (these fit every linear: 16, 32; or leave"),
    ],
)
def test_the_first_linear_that_groups_do_not_fit_is_named(group: int, said: str) -> None:
    """What is offered fits all of them."""
    inputs = {"q": 64, "down": 96, "up": 32}
    for fitting in (Scheme(3), Scheme(3, 32), Scheme(3, 1)):
        fitting.check_inputs(inputs)
    with pytest.raises(UserError) as error:
        Scheme(3, group).check_inputs(inputs)
    assert str(error.value).startswith(f"scheme w3a16g{group}: {said}")


def test_grouping_keeps_each_row_in_order() -> None:
    grouped = Scheme(2, 2).group(torch.arange(8).reshape(2, 4))
    assert grouped.tolist() == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]
