"""What is printed, and what is written as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from bench.render.table import Table
from bench.speed.memory import StepPeak
from bench.speed.parts import BLOCK, PARTS, PROJECTIONS, PartTimes, Share
from bench.speed.scoring import SIDES, ScoringPeak, ScoringTimes
from bench.speed.step import FLOOR, OURS, PLAIN, RATIOS, SW, UNCOMPILED, StepTimes

MIB = 2**20


@dataclass
class Measured:
    """Everything that one call measured; a list is empty where nothing was."""

    machine: dict[str, Any]
    block: dict[str, Any]
    repeats: int
    steps: list[StepTimes] = field(default_factory=list)
    parts: list[PartTimes] = field(default_factory=list)
    shares: list[Share] = field(default_factory=list)
    step_memory: list[StepPeak] = field(default_factory=list)
    scoring: ScoringTimes | None = None
    scoring_memory: list[ScoringPeak] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def page(self) -> str:
        """Return the tables, each under what it says, and a line about the machine above them."""
        parts = [_line(self.machine), _line(self.block)]
        for caption, table in (
            (STEPS, _steps(self.steps) if self.steps else None),
            (PART, _parts(self.parts) if self.parts else None),
            (SHARE, _shares(self.shares) if self.shares else None),
            (STEP_MEMORY, _step_memory(self.step_memory) if self.step_memory else None),
            (SCORING, _scoring(self.scoring) if self.scoring else None),
            (SCORING_MEMORY, _scoring_memory(self.scoring_memory) if self.scoring_memory else None),
        ):
            if table:
                parts.append(f"{caption}\n\n{table.markdown()}")
        return "\n\n".join(parts + self.notes)

    def as_data(self) -> dict[str, Any]:
        """Return all numbers as JSON holds them; times in milliseconds, memory in bytes."""
        both = [(BLOCK, FLOOR), *((f"{PLAIN} {part}", f"{OURS} {part}") for part in PARTS)]
        return {
            "machine": self.machine,
            "block": self.block,
            "repeats": self.repeats,
            "steps": [
                {"case": row.case.name, "tokens": row.tokens, **row.times.as_data(*RATIOS)} for row in self.steps
            ],
            "parts": [{"case": row.case.name, "tokens": row.tokens, **row.times.as_data(*both)} for row in self.parts],
            "sw_shares": [asdict(row) for row in self.shares],
            "step_memory": [asdict(row) for row in self.step_memory],
            "scoring": self.scoring and _scoring_data(self.scoring),
            "scoring_memory": [asdict(row) for row in self.scoring_memory],
            "notes": self.notes,
        }


BRACKETS = "Ratios are medians over rounds, with their quartiles in brackets."
STEPS = (
    "Training steps. Plain: the frozen loop of bench/speed/plain.py. Floor: the block's matrix products and attention"
    f" alone. Uncompiled: with the kernels that need no compiler (swq/kernels). {BRACKETS}"
)
PART = (
    "Parts of a step, each alone, forward and backward: ours, and how many times as long the plain loop's takes. Both"
    " run the same block; there it is how many times as long it takes as the floor."
)
SHARE = "SW's share of an OmniQuant step, in %, by the number of its directions; quartiles in brackets."
STEP_MEMORY = "Peak memory of training, in MiB, above the block, its inputs and the libraries."
SCORING = f"Scoring, against lm-eval's own language model on the same requests. {BRACKETS}"
SCORING_MEMORY = "Peak memory of scoring the longest documents (16 requests of lm-eval), in MiB, above the model."


def _line(facts: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:.3g}" if milliseconds < 100 else f"{milliseconds:.0f}"


def _steps(rows: list[StepTimes]) -> Table:
    names = (OURS, OURS + SW, UNCOMPILED, PLAIN, FLOOR)
    cells = [
        [
            row.case.name,
            str(row.tokens),
            *(_ms(row.times.milliseconds(name)) for name in names),
            *(str(row.times.ratio(*pair)) for pair in RATIOS),
        ]
        for row in rows
    ]
    headers = ["case", "tokens", *(f"{name}, ms" for name in names), *(f"{name} / {to}" for name, to in RATIOS)]
    return Table(cells, headers, left=1)


def _parts(rows: list[PartTimes]) -> Table:
    def cell(row: PartTimes, name: str, ratio: tuple[str, str]) -> str:
        return f"{_ms(row.times.milliseconds(name))} ms, {row.times.ratio(*ratio).median:.2f} ×"

    cells = [
        [
            row.case.name,
            str(row.tokens),
            cell(row, BLOCK, (BLOCK, FLOOR)),
            *(cell(row, f"{OURS} {part}", (f"{PLAIN} {part}", f"{OURS} {part}")) for part in PARTS),
        ]
        for row in rows
    ]
    return Table(cells, ["case", "tokens", BLOCK, *PARTS], left=1)


def _shares(rows: list[Share]) -> Table:
    found = {(row.tokens, row.projections): row.share for row in rows}
    cells = []
    for tokens in dict.fromkeys(row.tokens for row in rows):
        shares = [found[tokens, k] for k in PROJECTIONS]
        cells.append([str(tokens), *(f"{100 * s.median:.1f} [{100 * s.low:.1f}, {100 * s.high:.1f}]" for s in shares)])
    return Table(cells, ["tokens", *map(str, PROJECTIONS)], left=0)


def _step_memory(rows: list[StepPeak]) -> Table:
    cells = [[row.case, str(row.tokens), *(f"{peak / MIB:.0f}" for peak in row.peaks.values())] for row in rows]
    return Table(cells, ["case", "tokens", *rows[0].peaks], left=1)


def _scoring(row: ScoringTimes) -> Table:
    seconds = (f"{row.times.milliseconds(side) / 1e3:.1f}" for side in SIDES)
    cells = [
        row.model,
        str(row.requests),
        *seconds,
        str(row.times.ratio(PLAIN, OURS)),
        f"{row.difference:.1e}",
        f"{row.answers} of {row.documents}",
    ]
    headers = [
        "model",
        "requests",
        *(f"{side}, s" for side in SIDES),
        f"{PLAIN} / {OURS}",
        "largest difference of a log-likelihood, nats",
        "documents right on one side only",
    ]
    return Table([cells], headers, left=1)


def _scoring_data(row: ScoringTimes) -> dict[str, Any]:
    facts = {name: getattr(row, name) for name in ("model", "requests", "difference", "answers", "documents")}
    return facts | row.times.as_data((PLAIN, OURS))


def _scoring_memory(rows: list[ScoringPeak]) -> Table:
    def cell(peak: int | None) -> str:
        return "too large for this machine" if peak is None else f"{peak / MIB:.0f}"

    cells = [[f"{row.vocabulary:,}", *map(cell, row.peaks.values())] for row in rows]
    return Table(cells, ["words of the head", *SIDES], left=0)
