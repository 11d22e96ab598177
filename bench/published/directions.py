"""Findings about the claim that log-perplexity improves in every setting."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from bench.analysis.compare import recovered
from bench.analysis.median_windows import n_collapsed
from bench.analysis.recovery import NOTHING_LOST, p_of_gain
from bench.published.claims import Verdict, judge_consistency, judge_direction, with_seeds
from bench.published.findings import EVERY, MISMATCH, Finding, ends, told
from bench.published.pooled import holm
from bench.published.settings import Setting


def of_direction(name: str, settings: list[Setting]) -> Iterator[Finding]:
    """Yield a finding for each setting, and then the claim's own: that each of them improves."""
    collapsed = [n_collapsed(list(setting.strata)) for setting in settings]
    adjusted = holm(
        [
            p_of_gain(list(setting.strata)) if setting.enough and not broken else None
            for setting, broken in zip(settings, collapsed, strict=True)
        ]
    )
    found = [
        _judged(name, setting, broken, len(settings), p)
        for setting, broken, p in zip(settings, collapsed, adjusted, strict=True)
    ]
    yield from found
    if found:
        yield _every(name, settings, found)


def _judged(name: str, setting: Setting, n_broken: int, n: int, p: float | None) -> Finding:
    """Judge one of `n` settings; by the median over windows where some of them collapse."""
    wrong = setting.standing.wrong
    found = Finding(name, setting.scheme, anchor=setting.standing.anchor, n_seeds=len(setting.seeds))
    if not setting.strata:
        return replace(found, verdict=MISMATCH if wrong else "not run", why=told(wrong))
    strata = list(setting.strata)
    recovery = recovered(strata, "log_perplexity")
    withheld = None if recovery.withheld == NOTHING_LOST else recovery.withheld
    single, wide = recovery.gained, recovered(strata, "log_perplexity", n).gained
    said: Verdict = "withheld" if withheld else judge_direction(single.low, single.high)
    again: Verdict = "withheld" if withheld else judge_direction(wide.low, wide.high)
    verdict, reading = (MISMATCH, None) if wrong else with_seeds(said, recovery.n_seeds)
    median = f"median over windows, {n_broken} of which collapse" if n_broken else None
    return replace(
        found,
        verdict=verdict,
        reading=reading,
        gained=None if withheld else ends(single),
        corrected=(wide.low, wide.high) if setting.enough and not withheld else None,
        corrected_verdict=(MISMATCH if wrong else again) if setting.enough else None,
        p=p,
        n_items=recovery.n_items,
        why=told(wrong, withheld, median, n_seeds=recovery.n_seeds),
    )


def _every(name: str, settings: list[Setting], found: list[Finding]) -> Finding:
    """Judge the claim from what each setting says."""
    wrong = next((f"{s.scheme}: {s.standing.wrong}" for s in settings if s.standing.wrong), None)
    verdict = judge_consistency([f.verdict for f in found], [f.corrected_verdict for f in found])
    better = sum(f.verdict == "supported" for f in found)
    return Finding(
        name,
        EVERY,
        verdict=MISMATCH if wrong else verdict,
        n_seeds=min(f.n_seeds for f in found),
        anchor="",
        why=told(wrong, f"better in {better} of {len(found)} settings" if verdict != "not run" else None),
    )
