"""verify: what the suite's measurements say of each claim, how sure that is, and what is missing to say more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from bench.claims import Claim, Claims, Verdict, judge, load_claims, more_needed
from bench.config import Params
from bench.published import Registry, load_published
from bench.results import CellResult, load_results, recoveries, seed_recoveries
from bench.sources import HubModel
from bench.statistics import MIN_SEEDS, Recovery
from bench.table import Table
from swq.errors import UserError

# 0: nothing speaks against any claim. 1 and 2 are a user's mistakes, in a file and on the command line.
OPEN, CONTRADICTED = 3, 4


@dataclass(frozen=True)
class Finding:
    """What one row of the suite says of one claim.

    Attributes:
        claim: its key in conf/claims.yaml.
        scheme: the row's.
        verdict: see bench.claims.judge.
        share: recovered share of lost accuracy in percent with the ends of its interval; None where there is none.
        claimed: the claimed range in percent.
        n_items: items behind it.
        n_seeds: seeds behind it.
        more: how many times as many items and seeds would tell the claim's lower end from 0; None where unknown.
        why: what a reader must know beside it.
    """

    claim: str
    scheme: str
    verdict: Verdict | str
    share: tuple[float, float, float] | None
    claimed: tuple[float, float]
    n_items: int
    n_seeds: int
    more: float | None
    why: str


def verify(params: Params) -> tuple[list[Finding], str, int]:
    """Return findings, a page about them, and the exit status.

    Raises:
        UserError: the suite scores other tasks than the claims are about.
    """
    claims, results = load_claims(), load_results(params)
    if set(params.protocol.tasks) != set(claims.tasks):
        raise UserError(f"the claims are about {', '.join(claims.tasks)}; this suite's protocol scores other tasks")
    findings = list(_findings(params, claims, results, load_published()))
    if not findings:
        raise UserError(f"no claim is about a model of suite {params.suite}; `python -m bench compose paper` has those")
    verdicts = {finding.verdict for finding in findings}
    status = 0
    if verdicts & {"inconclusive", "withheld", "not run"}:
        status = OPEN
    if verdicts & {"contradicted", "smaller than claimed", MISMATCH}:
        status = CONTRADICTED
    return findings, _page(claims, findings), status


def as_json(findings: list[Finding]) -> list[dict[str, object]]:
    """Return findings as plain values."""
    return [asdict(finding) for finding in findings]


MISMATCH = "protocol mismatch"


def _findings(params: Params, claims: Claims, results: dict[str, CellResult], registry: Registry) -> Iterator[Finding]:
    single = recoveries(params, results)
    several = seed_recoveries(params, results, single)
    for name, claim in claims.claims.items():
        wrong = _mismatch(params, claim, claims, results, registry)
        for keys in _rows(params, claim):
            scheme = str(params.cells[keys[0]].scheme)
            done = tuple(key for key in keys if key in single)
            recovered = several.get(done) or (single[done[0]] if done else None)
            yield _finding(name, claim, scheme, recovered["accuracy"] if recovered else None, wrong)


def _rows(params: Params, claim: Claim) -> list[tuple[str, ...]]:
    """Return the cells that a claim is about, those that differ in their seed alone together."""
    rows: dict[str, list[str]] = {}
    for key, cell in params.cells.items():
        source = params.models.get(cell.model)
        about = isinstance(source, HubModel) and source.repo == claim.model and cell.method_name == claim.method
        if about and cell.loss and cell.loss.weights.get("sw") and key in params.report.baselines:
            rows.setdefault(params.apart_from_seed(key), []).append(key)
    return [tuple(keys) for keys in rows.values()]


def _finding(name: str, claim: Claim, scheme: str, recovered: Recovery | None, wrong: str | None) -> Finding:
    if recovered is None:
        return Finding(name, scheme, MISMATCH if wrong else "not run", None, claim.range, 0, 0, None, wrong or "")
    share = None
    if recovered.share is not None:
        share = (100 * recovered.share.point, 100 * recovered.share.low, 100 * recovered.share.high)
    why = [wrong] if wrong else []
    if recovered.n_seeds < MIN_SEEDS:
        why.append(f"conditional on {'this seed' if recovered.n_seeds == 1 else 'these seeds'}")
    if recovered.withheld:
        why.append(recovered.withheld)
    verdict = MISMATCH if wrong else "withheld" if share is None else judge(share[1], share[2], claim.range)
    more = more_needed(share[1], share[2], claim.range) if share else None
    return Finding(
        name, scheme, verdict, share, claim.range, recovered.n_items, recovered.n_seeds, more, "; ".join(why)
    )


def _mismatch(
    params: Params, claim: Claim, claims: Claims, results: dict[str, CellResult], registry: Registry
) -> str | None:
    """Say which full-precision or RTN perplexity of the claim's model is not the published one; None if all are."""
    for key, result in results.items():
        cell = params.cells[key]
        source = params.models.get(cell.model)
        if not isinstance(source, HubModel) or source.repo != claim.model or cell.method_name not in ("fp", "rtn"):
            continue
        tolerance = getattr(claims.tolerance, cell.method_name)
        for figure in registry.find(source.repo, cell.method_name, str(cell.scheme) if cell.scheme else None):
            for text, published in figure.perplexity.items():
                measured = result.summary["perplexity"].get(text)
                if measured is None or published > COLLAPSED:
                    continue
                if abs(measured / published - 1) > tolerance / 100:
                    return f"{key}: {text} perplexity {measured:.2f}, published {published:g} ({figure.source})"
    return None


COLLAPSED = 100  # perplexities above it are published to two digits and differ between libraries


def _page(claims: Claims, findings: list[Finding]) -> str:
    rows = [
        [
            finding.claim,
            finding.scheme,
            f"{finding.claimed[0]:g} to {finding.claimed[1]:g}",
            "{:.1f} [{:.1f}, {:.1f}]".format(*finding.share) if finding.share else "",
            f"**{finding.verdict}**",
            str(finding.n_items or ""),
            str(finding.n_seeds or ""),
            f"{finding.more:g} x" if finding.more else "",
            finding.why,
        ]
        for finding in findings
    ]
    headers = ["claim", "scheme", "claimed, %", "measured, %", "verdict", "items", "seeds", "needed", "note"]
    unknown = "; ".join(f"{name}: {', '.join(claim.unknown)}" for name, claim in claims.claims.items())
    return "\n\n".join(
        [
            f"Claims of {claims.source}: recovered share of lost accuracy.",
            Table(rows, headers, left=2).markdown(),
            "Verdicts, by the 95 % interval: *supported* is above 0 and overlaps the claimed range; *smaller* and"
            " *larger than claimed* are above 0 and clear of it; *contradicted* is at or below 0, or holds 0 and ends"
            " below the range; *inconclusive* holds 0 and reaches into the range; *withheld* has no share; *protocol"
            " mismatch* comes before any of them, where full precision or RTN miss their published perplexities."
            " *Needed* is how many times as many items and seeds would tell the claim's lower end from 0.",
            *claims.assumptions,
            f"Not stated by the source: {unknown}.",
        ]
    )
