"""Properties of the losses, and what a weighted sum of them refuses, reports and draws."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from swq.errors import UserError
from swq.losses import TERMS, Loss, Outputs, l2, mse
from swq.sliced_wasserstein import sliced_wasserstein

TOKENS, CHANNELS = 12, 8


def outputs(n: int = 2) -> list[Tensor]:
    """Return `n` different outputs (2, TOKENS, CHANNELS)."""
    return list(torch.randn(n, 2, TOKENS, CHANNELS, generator=torch.Generator().manual_seed(4)))


def directions(dim: int = CHANNELS) -> Tensor:
    return torch.randn(dim, 16, generator=torch.Generator().manual_seed(5))


def no_draw(shape: tuple[int, int]) -> Tensor:
    raise AssertionError(f"a loss without randomness drew {shape}")


def test_sw_is_zero_on_itself_only() -> None:
    first, second = outputs()
    assert sliced_wasserstein(first, first, directions()) == 0
    assert sliced_wasserstein(first, second, directions()) > 0.05


def test_sw_does_not_see_the_order_of_tokens() -> None:
    """It compares sets: this is what sets it apart from mse, which must see the order."""
    first, _ = outputs()
    order = torch.randperm(TOKENS, generator=torch.Generator().manual_seed(6))
    shuffled = first[:, order].flip(0)
    assert sliced_wasserstein(first, shuffled, directions()) < 1e-6
    assert mse(first, shuffled) > 0.1


def test_sw_is_symmetric() -> None:
    first, second = outputs()
    forth, back = sliced_wasserstein(first, second, directions()), sliced_wasserstein(second, first, directions())
    assert forth == back


def test_sw_of_a_shift_is_the_mean_projected_shift() -> None:
    """A case with a known answer: moving every token by d moves every sorted projection by u·d, for unit u."""
    first, _ = outputs()
    shift = torch.linspace(-1, 1, CHANNELS)
    units = directions() / directions().norm(dim=0)
    value = sliced_wasserstein(first, first + shift, directions())
    torch.testing.assert_close(value, (shift @ units).abs().mean(), rtol=1e-5, atol=0.0)


def test_sw_does_not_depend_on_the_length_of_the_normals() -> None:
    first, second = outputs()
    value = sliced_wasserstein(first, second, 7 * directions())
    torch.testing.assert_close(value, sliced_wasserstein(first, second, directions()))


def test_pooled_tokens_are_one_sample() -> None:
    """Blocks may be swapped freely, tokens inside one may not."""
    first, second = outputs()
    wide = directions(3 * CHANNELS)
    pooled = [output.reshape(-1, 3 * CHANNELS) for output in (first, second)]
    assert sliced_wasserstein(first, second, wide, block_size=3) == sliced_wasserstein(*pooled, wide)

    swapped_blocks = first.reshape(2, TOKENS // 3, 3, CHANNELS).flip(1).reshape(first.shape)
    swapped_inside = first.reshape(2, TOKENS // 3, 3, CHANNELS).flip(2).reshape(first.shape)
    assert sliced_wasserstein(first, swapped_blocks, wide, block_size=3) < 1e-6
    assert sliced_wasserstein(first, swapped_inside, wide, block_size=3) > 0.05
    assert sliced_wasserstein(first, swapped_inside, directions()) < 1e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sw_stays_float32_under_autocast(dtype: torch.dtype) -> None:
    """Sorting half-precision projections would make ties out of differences."""
    first, second = outputs()
    wanted = sliced_wasserstein(first, second, directions())
    with torch.autocast("cpu", dtype=dtype):
        assert (first[0] @ directions()).dtype == dtype, "autocast is off: the test would show nothing"
        value = sliced_wasserstein(first, second, directions())
    assert value.dtype == torch.float32
    assert torch.equal(value, wanted)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sw_of_half_precision_outputs_is_computed_in_float32(dtype: torch.dtype) -> None:
    first, second = (output.to(dtype) for output in outputs())
    value = sliced_wasserstein(first, second, directions())
    assert value.dtype == torch.float32
    assert torch.equal(value, sliced_wasserstein(first.float(), second.float(), directions()))


def test_sw_refuses_outputs_of_different_shape() -> None:
    """Broadcasting would otherwise hide a dropped batch dimension."""
    first, _ = outputs()
    with pytest.raises(ValueError, match=r"outputs differ in shape: \(2, 12, 8\) and \(12, 8\)"):
        sliced_wasserstein(first, first[0], directions())


def test_sw_refuses_blocks_that_do_not_divide_the_tokens() -> None:
    first, second = outputs()
    with pytest.raises(ValueError, match="block_size 5 does not divide 24 tokens"):
        sliced_wasserstein(first, second, directions(5 * CHANNELS), block_size=5)


def test_mse_averages_over_channels_where_l2_sums() -> None:
    first, second = torch.zeros(1, 2, 4), torch.tensor([[[1.0, 1, 1, 1], [2, 2, 2, 2]]])
    assert mse(first, second) == 2.5
    assert l2(first, second) == 10.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Loss({"sww": 1.0}),
            f"unknown loss term 'sww'; did you mean 'sw'? (allowed: {', '.join(sorted(TERMS))})",
        ),
        (lambda: Loss({"mse": -0.1}), "loss weight of mse is -0.1; it must be finite and not negative"),
        (lambda: Loss({"sw": float("inf")}), "loss weight of sw is inf; it must be finite and not negative"),
        (lambda: Loss({"sw": float("nan")}), "loss weight of sw is nan; it must be finite and not negative"),
        (lambda: Loss({"mse": 0.0, "sw": 0.0}), "loss: at least one term needs a weight above 0"),
        (lambda: Loss({}), "loss: at least one term needs a weight above 0"),
        (lambda: Loss({"sw": 1.0}, n_projections=0), "loss: n_projections and sw_block_size must be at least 1"),
        (
            lambda: Loss({"sw": 1.0}, sw_start_block=1),
            "loss: sw_start_block must be at least 0; above 0, it needs sw (or sw_mismatched), and mse or l2",
        ),
        (
            lambda: Loss({"mse": 1.0}, sw_start_block=1),
            "loss: sw_start_block must be at least 0; above 0, it needs sw (or sw_mismatched), and mse or l2",
        ),
        (
            lambda: Loss({"mse": 1.0}, sw_start_block=-1),
            "loss: sw_start_block must be at least 0; above 0, it needs sw (or sw_mismatched), and mse or l2",
        ),
        (lambda: Loss({"sw": 1.0}, sw_block_size=0), "loss: n_projections and sw_block_size must be at least 1"),
    ],
)
def test_impossible_loss_is_refused(make: Callable[[], Loss], message: str) -> None:
    with pytest.raises(UserError) as error:
        make()
    assert str(error.value) == message


@pytest.mark.parametrize("weights", [{"mse": 1.0, "sw": 0.0}, {"l2": 0.5, "mse": 0.5}])
def test_loss_without_weight_on_sw_draws_nothing(weights: dict[str, float]) -> None:
    """A term of weight 0 must cost nothing and shift no random stream."""
    _, terms = Loss(weights)(Outputs(*outputs()), no_draw)
    assert set(terms) == {name for name, weight in weights.items() if weight}


def test_sw_term_draws_one_set_of_directions_of_its_dimension() -> None:
    shapes: list[tuple[int, int]] = []

    def draw(shape: tuple[int, int]) -> Tensor:
        shapes.append(shape)
        return torch.ones(shape)

    Loss({"mse": 0.9, "sw": 0.1}, n_projections=5, sw_block_size=4)(Outputs(*outputs()), draw)
    assert shapes == [(4 * CHANNELS, 5)]


def test_shares_are_weighted_terms_and_add_up_to_the_loss() -> None:
    first, second = outputs()
    total, terms = Loss({"l2": 0.5, "sw": 2.0}, 16)(Outputs(first, second.requires_grad_()), lambda shape: directions())
    torch.testing.assert_close(terms["l2"].detach(), 0.5 * l2(first, second.detach()))
    torch.testing.assert_close(terms["sw"].detach(), 2 * sliced_wasserstein(first, second.detach(), directions()))
    torch.testing.assert_close(total, terms["l2"] + terms["sw"])
    assert total.requires_grad and terms["sw"].requires_grad, "gradients of one term are measured"


def test_order_of_terms_in_a_configuration_changes_no_bit() -> None:
    """Floating-point sums depend on their order; a result must not depend on the order of keys."""
    one, other = Loss({"mse": 0.9, "l2": 0.3, "sw": 0.1}), Loss({"sw": 0.1, "l2": 0.3, "mse": 0.9})
    assert list(one.weights) == list(other.weights) and repr(one) == repr(other)


def test_the_mismatched_term_is_the_distance_to_another_samples_target() -> None:
    """And it says nothing of the sample's own."""
    target, output, other = outputs(3)
    loss = Loss({"mse": 0.9, "sw_mismatched": 0.1}, 16)
    assert loss.needs_other and not Loss({"mse": 0.9, "sw": 0.1}).needs_other
    _, terms = loss(Outputs(target, output, other), lambda shape: directions())
    assert terms["sw_mismatched"] == 0.1 * sliced_wasserstein(other, output, directions())
    assert terms["mse"] == 0.9 * mse(target, output)


def test_blocks_before_the_start_block_are_trained_without_sw() -> None:
    loss = Loss({"mse": 0.9, "sw": 0.1}, normalised=True, sw_start_block=2)
    assert loss.in_block(1) == loss.in_block(0) == Loss({"mse": 0.9})
    assert loss.in_block(2) == loss.in_block(3) == loss
