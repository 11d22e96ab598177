"""docs/gpu-on-paper.md holds what `python benchmarks/roofline.py` prints, and what that counts is right by hand."""

from __future__ import annotations

import re
from collections import Counter as Tally
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench.preflight.workload import OMNIQUANT_PASSES, TESSERAQ_PASSES
from benchmarks.cards import A100, CARDS, seconds
from benchmarks.counted import Counter, Operation
from benchmarks.paper_steps import HALF, SINGLE, Paper
from benchmarks.roofline import put_into, tables
from tests.support.pages import PAGES
from tests.support.repository import ROOT

pytestmark = pytest.mark.slow
ATTENTION, MLP = 4096 * 4096, 4096 * 11008
LINEARS = 4 * ATTENTION + 3 * MLP  # weights of LLaMA-2-7B's seven linears: 202,375,168
TOKENS = 2048
SHOWN = dict(re.findall(r"<!-- roofline: (\w+) -->\n(.*?)\n<!-- end -->", PAGES["docs/gpu-on-paper.md"], re.DOTALL))


@pytest.fixture(scope="module")
def paper() -> Paper:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return Paper("llama-2-7b", TOKENS)


def totals(operations: list[Operation], what: str) -> Tally[str]:
    found: Tally[str] = Tally()
    for op in operations:
        found[op.part] += getattr(op, what)
    return found


def test_the_page_shows_what_the_program_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a step changed: `python benchmarks/roofline.py --into docs/gpu-on-paper.md`, then read the prose again."""
    monkeypatch.chdir(ROOT)
    assert tables("llama-2-7b", TOKENS, list(CARDS.values())) == SHOWN


def test_tables_are_put_into_a_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "before\n<!-- roofline: room -->\n<!-- end -->\nbetween\n<!-- roofline: steps -->\nold\n<!-- end -->\n"
    )
    put_into(page, {"room": "| a |", "steps": r"| \1 |"})
    put_into(page, {"room": "| b |"})
    kept = page.read_text().splitlines()
    assert kept[:4] == ["before", "<!-- roofline: room -->", "| b |", "<!-- end -->"]
    assert kept[4:] == ["between", "<!-- roofline: steps -->", r"| \1 |", "<!-- end -->"]


def test_products_are_those_of_seven_linears(paper: Paper) -> None:
    """Two FLOPs per weight and token; the inputs of queries, keys and values need no gradient."""
    flops = totals(paper.count(paper.cell("omniquant", SINGLE, 128)), "flops")
    assert flops["products, forward"] == 2 * TOKENS * LINEARS == 828_928_688_128
    assert flops["products, gradients of weights"] == 2 * TOKENS * LINEARS
    assert flops["products, gradients of inputs"] == 2 * TOKENS * (LINEARS - 3 * ATTENTION)
    assert flops["attention, forward"] == 2 * 2 * TOKENS * TOKENS * 4096
    assert flops["sliced Wasserstein"] == 3 * 2 * TOKENS * 4096 * 128


@pytest.mark.parametrize(
    ("row", "passes", "parts"),
    [("omniquant", OMNIQUANT_PASSES, ("fake",)), ("tesseraq", TESSERAQ_PASSES, ("fake", "optimiser"))],
)
def test_passes_over_the_weights_are_those_of_the_estimate(
    paper: Paper, row: str, passes: int, parts: tuple[str, ...]
) -> None:
    """Tensors of one float a group come on top, a few in a hundred."""
    moved = totals(paper.count(paper.cell(row, SINGLE)), "bytes")
    counted = sum(size for part, size in moved.items() if part.startswith(parts)) / (4 * LINEARS)
    assert counted == pytest.approx(passes, rel=0.05)


def test_half_precision_halves_the_weights_that_products_read(paper: Paper) -> None:
    single, half = (paper.count(paper.cell("omniquant", precision)) for precision in (SINGLE, HALF))
    assert 2 * totals(half, "bytes")["products, forward"] == totals(single, "bytes")["products, forward"]
    assert totals(half, "flops")["products, forward"] == totals(single, "flops")["products, forward"]
    assert {op.half for op in half if op.part.startswith("products")} == {True}


def counted(run: object, *tensors: Tensor) -> list[int]:
    counter = Counter()
    with counter, counter.part("all"):
        run(*tensors)  # type: ignore[operator]
    return [op.bytes for op in counter.operations]


def test_bytes_by_hand() -> None:
    """Every input once and every output once: views move nothing, what is expanded has its own size."""
    a, b = torch.zeros(8, 16), torch.zeros(8, 16)
    assert counted(lambda x, y: x + y, a, b) == [3 * 512]
    assert counted(lambda x, y: x.add_(y), a, b) == [3 * 512]
    assert counted(lambda x, y: x.copy_(y), a, b) == [2 * 512]
    assert counted(lambda x: x * x, a) == [2 * 512]
    assert counted(lambda x, y: x + y[0].expand(8, 16), a, b) == [2 * 512 + 64]
    assert counted(lambda x: x.t().reshape(-1, 8), a) == []
    assert counted(torch.zeros_like, a) == [512]


def test_an_operation_is_bound_by_products_or_by_bytes() -> None:
    card = CARDS["h100"]
    rates = card.rates(reached=False)
    assert seconds([Operation("", "", int(card.half), 0, True)], rates) == pytest.approx(1)
    assert seconds([Operation("", "", int(card.single), int(2 * card.memory), False)], rates) == pytest.approx(2)
    assert A100.rates(reached=True).half == pytest.approx(100e12), "the assumption of bench/preflight/seconds.py"
