"""Findings about a claimed range of recovered shares: one for each setting, and the pooled one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from bench.analysis.recovery import p_of_gain, recovery
from bench.published.anchors import Standing
from bench.published.claims import Claim, Verdict, judge, more_needed, with_seeds
from bench.published.findings import MISMATCH, POOLED, Finding, ends, told
from bench.published.pooled import holm, pooled
from bench.published.settings import Setting


def of_share(name: str, claim: Claim, settings: list[Setting]) -> Iterator[Finding]:
    """Yield a finding for each setting, and one for all of them if there are several.

    Settings that were not run count in the correction, so that it does not depend on which ones were.
    """
    n = len(settings)
    adjusted = holm([p_of_gain(list(setting.strata)) if setting.enough else None for setting in settings])
    for setting, p in zip(settings, adjusted, strict=True):
        yield _corrected(_judged(name, claim, setting), claim, setting, n, p)
    if n > 1:
        yield _pooled(name, claim, settings)


def _judged(name: str, claim: Claim, setting: Setting) -> Finding:
    """Judge one setting, or all of them as one, at the single level."""
    wrong = setting.standing.wrong
    found = Finding(name, setting.scheme, claimed=claim.range, anchor=setting.standing.anchor)
    if not setting.strata:
        return replace(found, verdict=MISMATCH if wrong else "not run", why=told(wrong))
    recovered = recovery(list(setting.strata))
    share = ends(recovered.share, 100)
    said: Verdict = judge(share[1], share[2], claim.range) if share else "withheld"
    verdict, reading = (MISMATCH, None) if wrong else with_seeds(said, recovered.n_seeds)
    return replace(
        found,
        verdict=verdict,
        reading=reading,
        share=share,
        n_items=recovered.n_items,
        n_seeds=recovered.n_seeds,
        more=more_needed(share[1], share[2], claim.range) if share and verdict == "inconclusive" else None,
        why=told(wrong, recovered.withheld, n_seeds=recovered.n_seeds),
    )


def _corrected(found: Finding, claim: Claim, setting: Setting, n: int, p: float | None) -> Finding:
    """Add what a finding says when it is one of `n`."""
    if not setting.enough:
        return found
    wide = ends(recovery(list(setting.strata), n).share, 100)
    corrected = (wide[1], wide[2]) if wide else None
    said: Verdict = judge(*corrected, claim.range) if corrected else "withheld"
    return replace(found, corrected=corrected, p=p, corrected_verdict=MISMATCH if setting.standing.wrong else said)


def _pooled(name: str, claim: Claim, settings: list[Setting]) -> Finding:
    """Judge the ratio of summed gains to summed losses over all settings, with the seeds that all of them have.

    It is provisional until every setting was run: which ones came first must not decide.
    """
    run = [setting for setting in settings if setting.strata]
    wrong = next((f"{s.scheme}: {s.standing.wrong}" for s in settings if s.standing.wrong), None)
    everywhere = [seed for seed in (run[0].seeds if run else ()) if all(seed in setting.seeds for setting in run)]
    dropped = sorted({seed for setting in run for seed in setting.seeds} - set(everywhere))
    strata = pooled([setting.of(everywhere) for setting in run]) if everywhere else []
    whole = Setting(POOLED, Standing(wrong, ""), tuple(everywhere), tuple(strata))
    found = _judged(name, claim, whole)
    if not run:
        return found
    notes = [f"over {len(run)} of {len(settings)} settings"] if len(run) < len(settings) else []
    notes += [f"left out, as some settings lack them: seeds {', '.join(map(_called, dropped))}"] if dropped else []
    if found.verdict == "not run" or (len(run) < len(settings) and found.reading is None and not wrong):
        found = replace(found, verdict="provisional", reading="withheld" if not strata else found.verdict, more=None)
    return replace(found, why=told(found.why, *notes))


def _called(seeds: tuple[int, int]) -> str:
    own, calibration = seeds
    return str(own) if own == calibration else f"{own} (calibration {calibration})"
