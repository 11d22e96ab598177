"""Every loss against the recorded value and gradient of the authors' code, and SW against an independent library."""

from __future__ import annotations

from typing import Any

import ot
import pytest
import torch

from swq.losses import Loss, Outputs
from swq.sliced_wasserstein import sliced_wasserstein
from tests.support.reference import Tensors, read_meta

CASES = {name: case for name, case in read_meta()["unit"]["cases"].items() if name.startswith("loss.")}


def loss_of(case: dict[str, Any]) -> Loss:
    """Translate a recorded case's settings; without weights in it the hybrids are 0.9 and 0.1."""
    hybrid = case.get("hybrid_weights", {"base": 0.9, "sw": 0.1})
    weights = {
        "mse": {"mse": 1.0},
        "l2": {"l2": 1.0},
        "sw": {"sw": 1.0},
        "sliced_wasserstein": {"sw": 1.0},
        "mse_sw": {"mse": hybrid["base"], "sw": hybrid["sw"]},
        "l2_sw": {"l2": hybrid["base"], "sw": hybrid["sw"]},
    }
    return Loss(weights[case["method"]], case.get("sw_num_projections", 128), case.get("sw_block_size", 1))


def test_every_recorded_case_is_tested() -> None:
    assert len(CASES) == 8


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_equal_recorded(unit: Tensors, name: str) -> None:
    generator = torch.Generator().manual_seed(CASES[name]["seed"])
    draws: list[tuple[int, ...]] = []

    def draw(shape: tuple[int, int]) -> torch.Tensor:
        draws.append(shape)
        return torch.randn(shape, generator=generator)

    quant_output = unit["loss.y_quant"].clone().requires_grad_()
    total, _ = loss_of(CASES[name])(Outputs(unit["loss.y_fp"], quant_output), draw)
    total.backward()
    wanted = unit[f"{name}.grad_yq"]
    torch.testing.assert_close(total.detach().reshape(1), unit[f"{name}.value"], rtol=1e-6, atol=0.0)
    torch.testing.assert_close(quant_output.grad, wanted, rtol=1e-6, atol=1e-6 * wanted.abs().max().item())
    assert len(draws) == CASES[name]["n_randn"]


@pytest.mark.parametrize(("name", "block_size"), [("loss.sw_token", 1), ("loss.sw_block4", 4)])
def test_recorded_directions_give_the_recorded_value(unit: Tensors, name: str, block_size: int) -> None:
    """Without any generator in between, so that a failure tells the distance from the draw."""
    value = sliced_wasserstein(unit["loss.y_fp"], unit["loss.y_quant"], unit[f"{name}.randn"], block_size)
    torch.testing.assert_close(value.reshape(1), unit[f"{name}.value"], rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("dim", [3, 64])
def test_sliced_wasserstein_agrees_with_pot(dim: int) -> None:
    """POT computes the same quantity by its own code; it takes directions as they are, so they are unit length."""
    generator = torch.Generator().manual_seed(3)
    first, second = torch.randn(2, 50, dim, generator=generator)
    second = second.square()
    normals = torch.randn(dim, 20, generator=generator)
    wanted = ot.sliced_wasserstein_distance(first, second, projections=normals / normals.norm(dim=0), p=1)
    torch.testing.assert_close(sliced_wasserstein(first, second, normals), wanted, rtol=1e-5, atol=0.0)
