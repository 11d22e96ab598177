"""What stands between a measurement and its number: turns, ratios, the floor's products, peaks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from lightning.fabric import Fabric

from bench.speed.floor import Floor
from bench.speed.memory import in_child, peak_of
from bench.speed.subject import Shapes, Subject
from bench.speed.timing import Ratio, Times, interleaved
from swq.errors import UserError
from swq.quant.scheme import Scheme

CPU = torch.device("cpu")
MIB = 2**20


def test_runs_take_turns_and_the_first_round_is_dropped() -> None:
    called: list[str] = []

    def run(name: str) -> Callable[[], float]:
        def seconds() -> float:
            called.append(name)
            return float(len(called))

        return seconds

    rounds: list[int] = []
    times = interleaved({"a": run("a"), "b": run("b"), "c": run("c")}, 2, lambda: rounds.append(len(called)))
    assert "".join(called) == "abc" + "bca" + "cab"
    assert times.seconds == {"a": [6.0, 8.0], "b": [4.0, 9.0], "c": [5.0, 7.0]}
    assert rounds == [3, 6, 9]


def test_ratios_are_taken_round_by_round() -> None:
    """The third round was slow for both, and the ratio does not see it."""
    times = Times({"a": [1.0, 2.0, 30.0, 4.0, 5.0], "b": [1.0, 1.0, 10.0, 1.0, 1.0]})
    assert times.ratio("a", "b") == Ratio(median=3.0, low=2.0, high=4.0)
    assert times.milliseconds("a") == 4000.0
    assert str(times.ratio("a", "b")) == "3.00 [2.00, 4.00]"
    assert times.as_data(("a", "b")) == {
        "a ms": 4000.0,
        "b ms": 1000.0,
        "a / b": {"median": 3.0, "low": 2.0, "high": 4.0},
    }


@pytest.mark.parametrize(
    ("shapes", "products"),
    [
        (
            Shapes(64, 96, 4, 2),
            [(64, 64), (32, 64), (32, 64), (64, 64, "x"), (96, 64, "x"), (96, 64, "x"), (64, 96, "x")],
        ),
        (
            Shapes(64, 96, 4, family="opt"),
            [(64, 64), (64, 64), (64, 64), (64, 64, "x"), (96, 64, "x"), (64, 96, "x")],
        ),
    ],
    ids=["llama", "opt"],
)
def test_the_floor_multiplies_what_a_step_multiplies(
    fabric: Fabric, shapes: Shapes, products: list[tuple[int | str, ...]]
) -> None:
    """Queries, keys and values read the block's own input, which needs no gradient. Order does not matter."""
    floor = Floor(Subject(fabric, shapes, Scheme.parse("w3a16g32"), tokens=8, samples=2))
    found = [(*product.weight.shape, *(["x"] if product.to_input else [])) for product in floor._products]
    assert sorted(map(str, found)) == sorted(map(str, products))
    assert {product.x.shape[0] for product in floor._products} == {16}
    floor()


@pytest.mark.slow
def test_peak_counts_what_is_in_use_at_one_time() -> None:
    """In a process of its own, as it is measured: here, other tests may have left memory, or settings of it."""
    assert 120 * MIB <= in_child(_peak_of_two_tensors) < 160 * MIB


def _peak_of_two_tensors() -> int:
    def work() -> None:
        for _ in range(3):
            torch.ones(64 * MIB // 4).add(1.0)

    return peak_of(work, CPU)


@pytest.mark.slow
def test_a_child_returns_what_it_computed_and_a_killed_one_is_a_mistake() -> None:
    assert in_child(divmod, 7, 2) == (3, 1)
    with pytest.raises(UserError, match="was killed"):
        in_child(_die)


def _die() -> None:
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)
