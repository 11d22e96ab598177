"""A GPU on paper: what a training step asks of a card, what follows for its time, and what feeding the card costs.

    python benchmarks/roofline.py                               # LLaMA-2-7B on an H100 and an H200
    python benchmarks/roofline.py --model llama-2-13b --card h200 --tokens 2048
    python benchmarks/roofline.py --into docs/gpu-on-paper.md   # replaces the tables of that page
    python benchmarks/roofline.py --host                        # measures this machine: copies and random numbers

Bytes and FLOPs are counted in the step's own code (benchmarks/counted.py). Each operation takes the longer of its FLOPs
over a rate and its bytes over a bandwidth; times add up. Nothing is measured on a GPU.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.preflight.bytes import SAMPLES_HELD, reconstruct_device_bytes
from bench.preflight.cost import n_passes, task_tokens, window_tokens
from bench.preflight.estimate import HOUR
from bench.preflight.seconds import FLOAT, STORED, Rates, score_seconds, step_seconds
from bench.render.table import Table
from benchmarks.cards import CARDS, GATHER, LAUNCH, NORMALS, PINNED, Card, measure_host, seconds
from benchmarks.paper_steps import HALF, LLAMAS, SINGLE, Paper


def parts_table(paper: Paper, row: str, cards: Sequence[Card]) -> str:
    """The parts of one method's step with SW: FLOPs once, bytes and time in each precision."""
    counted = {precision: paper.count(paper.cell(row, precision, 128)) for precision in (SINGLE, HALF)}
    names = list(dict.fromkeys(op.part for operations in counted.values() for op in operations))
    rows = []
    for name in [*names, "step"]:
        chosen = {p: [op for op in ops if name in ("step", op.part)] for p, ops in counted.items()}
        cells = [f"{sum(op.flops for op in chosen[HALF]) / 1e9:,.0f}"]
        for precision in (SINGLE, HALF):
            cells.append(f"{sum(op.bytes for op in chosen[precision]) / 1e9:.2f}")
            cells += [_ms(seconds(chosen[precision], card.rates(True))) for card in cards]
        rows.append([name, *cells])
    columns = [[f"GB, {p}", *(f"{card.name} ms" for card in cards)] for p in (SINGLE, HALF)]
    return Table(rows, ["part", "GFLOP", *columns[0], *columns[1]], left=1).markdown()


def steps_table(paper: Paper, cards: Sequence[Card]) -> str:
    """Every step: its work, its time at the peaks and at the assumed rates, and what `estimate`'s formula says."""
    rows = []
    for row, samples in (("omniquant", 1), ("tesseraq", 2), ("tesseraq", 4)):
        for precision in (SINGLE, HALF):
            for directions in (0, 128, 1024):
                cell = paper.cell(row, precision, directions, samples)
                operations, work = paper.count(cell), paper.work(cell)
                numbers = [f"{sum(op.flops for op in operations) / 1e12:.2f}"]
                numbers += [f"{sum(op.bytes for op in operations) / 1e9:.1f}", str(len(operations))]
                for card in cards:
                    numbers += [_ms(seconds(operations, card.rates(reached))) for reached in (False, True)]
                    alone = replace(card.rates(True), transfer=float("inf"), normals=float("inf"))
                    numbers.append(_ms(step_seconds(paper.shapes, work, work.phases[-1], alone)))
                title = f"{cell.method.title}, {samples} x {paper.tokens}"
                rows.append([title, precision, str(directions or "none"), *numbers])
    columns = [name for card in cards for name in (f"{card.name} ms at its peaks", "assumed", "estimate's")]
    headers = ["step", "precision", "SW projections", "TFLOP", "GB", "operations", *columns]
    return Table(rows, headers, left=2).markdown()


def feeding_table(paper: Paper, card: Card) -> str:
    """What a step waits for besides the card's work, as data arrive and as they could."""
    rows = []
    for row, samples in (("omniquant", 1), ("tesseraq", 2)):
        for precision in (SINGLE, HALF):
            for directions in (0, 128, 1024):
                cell = paper.cell(row, precision, directions, samples)
                work, copied = seconds(paper.count(cell), card.rates(True)), paper.copied(cell)
                gather, copy = copied / GATHER, copied / Rates().transfer
                drawn, launch = paper.normals(cell) / NORMALS, LAUNCH * len(paper.count(cell))
                today = [max(work, gather + copy + drawn), work + gather + copy + drawn]
                ready = [max(work, copied / PINNED, drawn + launch), max(work, drawn + launch)]
                numbers = [f"{copied / 1e6:.0f}", *map(_ms, (work, launch, gather, copy, drawn, *today, *ready))]
                rows.append([f"{cell.method.title}, {samples}", precision, str(directions or "none"), *numbers])
    host = ["launch", "gather", "copy", "normals", "indexed, at best", "at worst", "pinned, ahead", "on the card"]
    return Table(rows, ["step", "precision", "SW projections", "MB", f"{card.name} ms", *host], left=2).markdown()


def room_table(paper: Paper, cards: Sequence[Card]) -> str:
    """Whether the activations of all samples fit on the card beside a block in training."""
    rows = []
    for row, samples, second in (
        ("omniquant", 128, 0),
        ("omniquant", 128, 1),
        ("tesseraq", 256, 0),
        ("tesseraq", 512, 0),
    ):
        cell = paper.cell(row, SINGLE)
        work = replace(paper.work(cell), samples=samples)
        kept = (SAMPLES_HELD + second) * samples * paper.tokens * paper.shapes.hidden * FLOAT
        block = reconstruct_device_bytes(paper.shapes, work)
        fits = ["yes" if kept + block < 0.9 * card.capacity else "no" for card in cards]
        title = f"{cell.method.title}{', second target' * second}, {samples} x {paper.tokens}"
        rows.append([title, *(f"{size / 1e9:.1f}" for size in (kept, block, kept + block)), *fits])
    headers = ["training", "activations, GB", "block in float32, GB", "together"]
    return Table(
        rows, [*headers, *(f"in 90 % of {c.capacity / 1e9:.0f} GB ({c.name})" for c in cards)], left=1
    ).markdown()


def hours_table(paper: Paper, cards: Sequence[Card]) -> str:
    """Hours of the training steps of whole cells, as their presets say: the card's work, and indexing at its worst."""
    rows = []
    for row, precision, directions in (
        ("omniquant", SINGLE, 0),
        ("omniquant", SINGLE, 128),
        ("omniquant", HALF, 0),
        ("tesseraq", HALF, 0),
        ("tesseraq", HALF, 128),
    ):
        cell = paper.cell(row, precision, directions)
        phase, copied = paper.work(cell).phases[-1], paper.copied(cell)
        steps = phase.steps * paper.shapes.blocks
        waits = copied / GATHER + copied / Rates().transfer + paper.normals(cell) / NORMALS
        hours = [seconds(paper.count(cell), card.rates(True)) for card in cards]
        numbers = [f"{steps * value / HOUR:.2f}" for work in hours for value in (work, work + waits)]
        rows.append([cell.method.title + " + SW" * bool(directions), precision, f"{steps:,}", *numbers])
    columns = [name for card in cards for name in (f"{card.name} h", "indexed, with waits")]
    return Table(rows, ["cell", "precision", "steps", *columns], left=2).markdown()


def scoring_table(paper: Paper, cards: Sequence[Card]) -> str:
    """Scoring the model by the protocol of suite `paper`, and what limits it."""
    protocol, shapes = paper.params.protocol, paper.shapes
    length, weights = protocol.perplexity.seq_len, STORED * shapes.parameters
    windows, tasks = window_tokens(protocol, shapes.vocabulary), task_tokens(protocol)
    passes = windows / length, n_passes(protocol, windows) - windows / length
    rows = []
    for name, text, documents, n in (("perplexity", windows, 0, passes[0]), ("tasks", 0, tasks, passes[1])):
        found = []
        for card in cards:
            rates = replace(card.rates(True), startup=0, disk=float("inf"))
            products = score_seconds(shapes, text, length, documents, n, True, rates)
            found += [f"{products:.0f}", f"{n * weights / rates.memory:.0f}"]
        flops = products * rates.half
        rows.append(
            [name, f"{text + documents:,}", f"{n:,.0f}", f"{flops / 1e15:.1f}", f"{n * weights / 1e12:.1f}", *found]
        )
    columns = [name for card in cards for name in (f"{card.name} s, products", "weights read")]
    return Table(rows, ["what", "tokens", "passes", "PFLOP", "TB of weights", *columns], left=1).markdown()


def tables(name: str, tokens: int, cards: Sequence[Card]) -> dict[str, str]:
    """Return every table of the page in Markdown, by name."""
    paper = Paper(name, tokens)
    return {
        "omniquant": parts_table(paper, "omniquant", cards),
        "tesseraq": parts_table(paper, "tesseraq", cards),
        "steps": steps_table(paper, cards),
        "feeding": feeding_table(paper, cards[0]),
        "room": room_table(paper, cards),
        "hours": hours_table(paper, cards),
        "scoring": scoring_table(paper, cards),
    }


def put_into(page: Path, made: dict[str, str]) -> None:
    """Replace the page's tables, each between `<!-- roofline: NAME -->` and `<!-- end -->`."""
    text = page.read_text(encoding="utf-8")
    for name, table in made.items():
        place = rf"(<!-- roofline: {name} -->\n).*?(<!-- end -->)"
        text = re.sub(place, lambda found, table=table: f"{found[1]}{table}\n{found[2]}", text, flags=re.DOTALL)
    page.write_text(text, encoding="utf-8")


def _ms(value: float) -> str:
    return f"{1e3 * value:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=LLAMAS, default="llama-2-7b")
    parser.add_argument("--card", choices=CARDS, help="one card only")
    parser.add_argument("--tokens", type=int, default=2048, help="of a sample")
    parser.add_argument("--into", type=Path, help="a page whose tables are replaced")
    parser.add_argument("--host", action="store_true", help="measure this machine instead")
    options = parser.parse_args()
    if options.host:
        print(measure_host())
        return
    cards = [CARDS[options.card]] if options.card else list(CARDS.values())
    made = tables(options.model, options.tokens, cards)
    if options.into:
        put_into(options.into, made)
    else:
        print("\n\n".join(f"**{name}**\n\n{table}" for name, table in made.items()))


if __name__ == "__main__":
    main()
