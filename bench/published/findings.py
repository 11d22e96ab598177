"""A finding: what one setting, or all settings of a claim, say about it."""

from __future__ import annotations

from dataclasses import dataclass

from bench.analysis.recovery import MIN_SEEDS, Interval
from bench.published.anchors import NO_ANCHOR
from bench.published.claims import Verdict

POOLED, EVERY = "pooled", "every"  # of a claim as a whole: what stands in place of a scheme
MISMATCH: Verdict = "protocol mismatch"
Ends = tuple[float, float, float]  # a point with the ends of its interval


@dataclass(frozen=True)
class Finding:
    """What one setting of the suite, or all of them, say about one claim.

    Attributes:
        claim: its key in conf/claims.yaml.
        scheme: of the setting. `pooled` is the ratio of summed gains to summed losses over the claim's settings;
            `every` is the claim that each of them improves.
        verdict: see bench.published.claims; *provisional* below five seeds.
        reading: what it would say if there were no more than these seeds; None unless it is provisional.
        share: recovered share of lost accuracy in percent with the ends of its 95 % interval; None if there is none.
        gained: in a claim about log-perplexity, what was gained in nats per token, likewise.
        claimed: the claimed range in percent; None if the claim has none.
        corrected: ends of the interval at the level at which those of all the claim's settings hold together, in the
            unit of the interval itself; None below five seeds, and of a claim as a whole.
        corrected_verdict: what that interval says; None if there is none.
        p: of nothing gained, corrected by Holm's rule for the number of settings; None likewise.
        n_items: number of items behind it.
        n_seeds: number of seeds behind it.
        more: by which factor items and seeds must grow for a clear verdict; None if it is clear, or there is no share.
        anchor: with which of the suite's rows by a published recipe the method was compared.
        why: what a reader must know about the verdict.
    """

    claim: str
    scheme: str
    verdict: Verdict = "not run"
    reading: Verdict | None = None
    share: Ends | None = None
    gained: Ends | None = None
    claimed: tuple[float, float] | None = None
    corrected: tuple[float, float] | None = None
    corrected_verdict: Verdict | None = None
    p: float | None = None
    n_items: int = 0
    n_seeds: int = 0
    more: float | None = None
    anchor: str = NO_ANCHOR
    why: str = ""


def ends(interval: Interval | None, factor: float = 1.0) -> Ends | None:
    """Return an interval's point and ends, times a factor."""
    return (factor * interval.point, factor * interval.low, factor * interval.high) if interval else None


def told(*reasons: str | None, n_seeds: int = MIN_SEEDS) -> str:
    """Return reasons as one text; that a finding holds for its seeds alone is one of them."""
    if n_seeds < MIN_SEEDS:
        reasons = (*reasons, "for this seed alone" if n_seeds == 1 else "for these seeds alone")
    return "; ".join(reason for reason in reasons if reason)
