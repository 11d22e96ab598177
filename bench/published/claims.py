"""What a paper claims, and what an interval says about it. `conf/claims.yaml` is read here and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from bench.analysis.recovery import MIN_SEEDS
from bench.config.cell import Cell
from bench.config.strict import Strict, mistake, read_section
from bench.config.tasks import scored_tasks
from swq.errors import one_of
from swq.methods import METHODS

CLAIMS = Path("conf/claims.yaml")
Verdict = Literal[
    "supported",
    "smaller than claimed",
    "larger than claimed",
    "contradicted",
    "inconclusive",
    "provisional",
    "withheld",
    "not run",
    "protocol mismatch",
]
Percent = Annotated[float, Field(gt=0, le=100)]


class Claim(Strict):
    """A range of recovered shares of lost accuracy, in percent.

    Attributes:
        model: its name on the hub.
        method: the base method, as a configuration names it.
        range: lowest and highest claimed share.
        of: what recovers it: SW, or the saliency term.
        source: where it is claimed, if elsewhere than the other claims.
        unknown: what the source does not state.
    """

    model: str
    method: str
    range: tuple[Percent, Percent]
    of: Literal["sw", "saliency"] = "sw"
    source: str | None = None
    unknown: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _ordered(self) -> Claim:
        if self.method not in METHODS:
            raise mistake(one_of("method", self.method, METHODS))
        if self.range[0] > self.range[1]:
            raise mistake(f"range {list(self.range)} must begin with its lower end")
        return self

    def treats(self, cell: Cell) -> bool:
        """Whether a cell has what the claim is about, and nothing else that its base may lack."""
        return cell.has_sw if self.of == "sw" else cell.has_saliency and not cell.has_sw


class Direction(Strict):
    """That log-perplexity improves in every setting; there is no percentage.

    Attributes:
        model: its name on the hub.
        method: the base method, as a configuration names it.
        unknown: what the source does not state.
    """

    model: str
    method: str
    unknown: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _known_method(self) -> Direction:
        if self.method not in METHODS:
            raise mistake(one_of("method", self.method, METHODS))
        return self

    def treats(self, cell: Cell) -> bool:
        """Whether a cell has SW, which all of these are about."""
        return cell.has_sw


class Claims(Strict):
    """The whole of conf/claims.yaml.

    Attributes:
        source: source of the claims.
        tasks: the tasks whose mean accuracy the shares are about.
        assumptions: what is assumed, in sentences.
        tolerance: how far a method's perplexity may be from the published one, in percent. Beyond it, the protocol or
            the recipe is taken to differ.
        claims: about shares of lost accuracy, by name.
        directions: about log-perplexity, by name.
    """

    source: str
    tasks: tuple[str, ...]
    assumptions: tuple[str, ...]
    tolerance: dict[str, Percent]
    claims: dict[str, Claim]
    directions: dict[str, Direction] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known_names(self) -> Claims:
        for method in self.tolerance:
            if method not in METHODS:
                message = f"tolerance: {one_of('method', method, METHODS)}"
                raise mistake(message)
        if both := sorted(self.claims.keys() & self.directions.keys()):
            raise mistake(f"directions.{both[0]}: the name is taken by another claim")
        for task in self.tasks:
            if task not in scored_tasks():
                raise mistake(one_of("task", task, scored_tasks()))
        return self


def load_claims(path: Path = CLAIMS) -> Claims:
    """Read and validate a file of claims.

    Raises:
        UserError: one line that names the key, the value and what is allowed.
    """
    return read_section(Claims, path)


def judge(low: float, high: float, claimed: tuple[float, float]) -> Verdict:
    """Return what an interval of the recovered share says about a claimed range; all three in one unit.

    - contradicted: the interval is at or below 0, or contains 0 and ends below the range, so the claim is ruled out;
    - inconclusive: it contains 0 and reaches into the range, so the claim cannot be told from no effect;
    - smaller than claimed: it is above 0 and below the range;
    - larger than claimed: it is above the range;
    - supported: it is above 0 and overlaps the range.
    """
    if high <= 0:
        return "contradicted"
    if low <= 0:
        return "contradicted" if high < claimed[0] else "inconclusive"
    if high < claimed[0]:
        return "smaller than claimed"
    return "larger than claimed" if low > claimed[1] else "supported"


def judge_direction(low: float, high: float) -> Verdict:
    """Return what an interval of the gain in log-perplexity says about an improvement in one setting."""
    if low > 0:
        return "supported"
    return "contradicted" if high < 0 else "inconclusive"


def judge_consistency(single: Sequence[Verdict], corrected: Sequence[Verdict | None]) -> Verdict:
    """Return what a claim's settings say about an improvement in every one of them.

    - not run: none was run;
    - contradicted: in one of them at least it is worse, at the level that is corrected for their number. One setting
      is enough, so the more there are, the more often one is worse by chance;
    - supported: it is better in each, at the single level. All of them must be, so chance has nothing to choose from
      (an intersection-union test, Berger 1982);
    - provisional: neither, and a setting was not run or has fewer than five seeds;
    - inconclusive: neither, and all were.

    Args:
        single: each setting's verdict; *provisional* below five seeds, and *not run*.
        corrected: the same at the corrected level; None where there is none.
    """
    if all(verdict == "not run" for verdict in single):
        return "not run"
    if "contradicted" in corrected:
        return "contradicted"
    if all(verdict == "supported" for verdict in single):
        return "supported"
    return "provisional" if {"provisional", "not run"} & set(single) else "inconclusive"


def with_seeds(verdict: Verdict, n_seeds: int) -> tuple[Verdict, Verdict | None]:
    """Return a verdict, and, below `MIN_SEEDS` seeds, *provisional* with what it would say."""
    return (verdict, None) if n_seeds >= MIN_SEEDS else ("provisional", verdict)


def more_needed(low: float, high: float, claimed: tuple[float, float]) -> float:
    """Return by which factor items and seeds must grow to make an inconclusive verdict impossible; at least 1.

    An interval that is narrower than the distance from 0 to the claim's lower end cannot contain both, so it cannot be
    inconclusive. Its width falls with the square root of items and seeds.
    """
    return max(1.0, math.ceil(10 * ((high - low) / claimed[0]) ** 2) / 10)
