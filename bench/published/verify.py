"""verify: what the suite's measurements say about each claim, how sure that is, and what more would be needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from bench.analysis.results import CellResult, load_results
from bench.config.params import Params
from bench.published.claims import Claims, Verdict, load_claims
from bench.published.directions import of_direction
from bench.published.figures import Registry, load_published
from bench.published.findings import EVERY, MISMATCH, Finding
from bench.published.settings import settings_of
from bench.published.shares import of_share
from bench.published.verdict_page import page
from swq.errors import UserError

# 0: every claim is supported or exceeded. 1 and 2 are a user's mistakes, in a file and on the command line.
OPEN, CONTRADICTED, MISMATCHED = 3, 4, 5


def verify(params: Params) -> tuple[list[Finding], str, int]:
    """Return findings, a page about them, and the exit status.

    Raises:
        UserError: the suite scores other tasks than the claims are about.
    """
    claims, results = load_claims(), load_results(params)
    if set(params.protocol.tasks) != set(claims.tasks):
        raise UserError(f"the claims are about {', '.join(claims.tasks)}; this suite's protocol scores other tasks")
    found = list(_findings(params, claims, results, load_published()))
    if not found:
        raise UserError(f"no claim is about a model of suite {params.suite}; `python -m bench compose paper` has them")
    return found, page(claims, found), exit_status(claims, found)


def as_json(findings: list[Finding]) -> list[dict[str, object]]:
    """Return findings as plain values."""
    return [asdict(finding) for finding in findings]


def exit_status(claims: Claims, findings: list[Finding]) -> int:
    """Return the status that the verdicts amount to; what speaks against a claim comes first, then a mismatch.

    A setting of several counts as it stands after the correction for their number. A claim that every setting improves
    counts as a whole.
    """
    verdicts: set[Verdict] = {
        finding.corrected_verdict or finding.verdict
        for finding in findings
        if finding.claim in claims.claims or finding.scheme == EVERY
    }
    if verdicts & {"contradicted", "smaller than claimed"}:
        return CONTRADICTED
    if MISMATCH in verdicts:
        return MISMATCHED
    return 0 if verdicts <= {"supported", "larger than claimed"} else OPEN


def _findings(params: Params, claims: Claims, results: dict[str, CellResult], registry: Registry) -> Iterator[Finding]:
    for name, claim in claims.claims.items():
        yield from of_share(name, claim, settings_of(claim, "accuracy", params, claims, results, registry))
    for name, direction in claims.directions.items():
        yield from of_direction(name, settings_of(direction, "log_perplexity", params, claims, results, registry))
