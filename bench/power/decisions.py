"""Whether the suite can decide the paper's claims at all, and with how many seeds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bench.power.design import CAP, Design, seeds_for
from bench.power.rows import ACCURACY, LOG_PERPLEXITY, PowerRow
from bench.published.claims import Claim, Claims, Direction


@dataclass(frozen=True)
class Decision:
    """What one setting of a claim, or all of them, can decide.

    Attributes:
        claim: its key in conf/claims.yaml.
        scheme: of the setting; `any` or `every` is the claim as a whole.
        n_seeds: that the suite has.
        half_width: of the share, expected of these; None if it cannot be known.
        shares: true shares, as fractions, which are to be told from 0.
        seeds: those that tell each of them with the wanted chance; infinite where no number does, NaN where only more
            than CAP do, None where nothing is published of what is lost.
    """

    claim: str
    scheme: str
    n_seeds: int
    half_width: float | None
    shares: tuple[float, ...]
    seeds: tuple[float | None, ...]

    @property
    def answers(self) -> list[str]:
        return [answer(seeds, self.n_seeds) for seeds in self.seeds]


def answer(seeds: float | None, n_seeds: int) -> str:
    """Return what a wanted number of seeds says of a suite that has `n_seeds`."""
    if seeds is None:
        return "no published gap"
    if math.isinf(seeds):
        return "cannot at any number of seeds"
    if math.isnan(seeds):
        return f"out of reach: more than {CAP:,} seeds"
    return "can decide" if seeds <= n_seeds else f"needs {seeds:.0f} seeds"


def decisions(claims: Claims, rows: list[PowerRow], effect: float, chance: float) -> list[Decision]:
    """Return a decision for each setting of each claim, and one for the claim as a whole if it has several.

    A claimed range is decided where its ends are told from 0: the interval excludes 0 if that share is true, with the
    wanted chance. That the other verdict comes out if nothing is true is about as likely, as the interval is as wide.
    A range is decided by `any` setting that can; that perplexity improves needs `every` setting, by `effect` each.
    """
    found = []
    for name, claim in claims.claims.items():
        shares = (claim.range[0] / 100, claim.range[1] / 100)
        found += _whole([_one(name, row, ACCURACY, shares, chance) for row in _of(rows, claim)], "any")
    for name, claimed in claims.directions.items():
        own = _of(rows, claimed)
        found += _whole([_one(name, row, LOG_PERPLEXITY, (effect,), chance) for row in own], "every")
    return found


def _of(rows: list[PowerRow], claim: Claim | Direction) -> list[PowerRow]:
    named = (row for row in rows if row.repo == claim.model and row.cell.method_name == claim.method)
    return [row for row in named if claim.treats(row.cell)]


def _one(claim: str, row: PowerRow, endpoint: str, shares: tuple[float, ...], chance: float) -> Decision:
    design = next(e.design for e in row.endpoints if e.name == endpoint)
    return Decision(
        claim,
        str(row.cell.scheme),
        row.n_seeds,
        design.half_width(row.n_seeds) if design else None,
        shares,
        tuple(_seeds(design, share, chance) if design else None for share in shares),
    )


def _seeds(design: Design, share: float, chance: float) -> float:
    return seeds_for(lambda n: design.chance_of_effect(n, share) >= chance)


def _whole(settings: list[Decision], which: str) -> list[Decision]:
    """Add the claim as a whole: the easiest of its settings (`any`), or the hardest (`every`)."""
    if len(settings) < 2:
        return settings
    pick = min if which == "any" else max
    seeds = []
    for own in zip(*(s.seeds for s in settings), strict=True):
        known = [n for n in own if n is not None]
        seeds.append(pick(known, key=_hardness) if known and (which == "any" or len(known) == len(own)) else None)
    first = settings[0]
    return [
        *settings,
        Decision(first.claim, which, pick(s.n_seeds for s in settings), None, first.shares, tuple(seeds)),
    ]


def _hardness(seeds: float) -> float:
    """Order numbers of seeds; more than CAP (NaN) is less hard than no number at all."""
    return 2 * CAP if math.isnan(seeds) else seeds
