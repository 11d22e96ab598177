"""verify: what the suite's measurements say about each claim, how sure that is, and what more would be needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from bench.analysis.compare import recovered_by
from bench.analysis.recovery import MIN_SEEDS, Recovery
from bench.analysis.results import CellResult, load_results
from bench.config.params import Params
from bench.config.seeds import SeedGroup
from bench.config.sources import HubModel
from bench.published.claims import Claim, Claims, Verdict, judge, load_claims, more_needed
from bench.published.figures import Registry, load_published
from bench.render.table import Table
from swq.errors import UserError

# 0: every claim is supported or exceeded. 1 and 2 are a user's mistakes, in a file and on the command line.
OPEN, CONTRADICTED = 3, 4


@dataclass(frozen=True)
class Finding:
    """What one row of the suite says about one claim.

    Attributes:
        claim: its key in conf/claims.yaml.
        scheme: the row's.
        verdict: see bench.published.claims.judge.
        share: recovered share of lost accuracy in percent with the ends of its interval; None if there is no share.
        claimed: the claimed range in percent.
        n_items: number of items behind the share.
        n_seeds: number of seeds behind the share.
        more: by which factor items and seeds must grow for a clear verdict; None if it is clear, or there is no share.
        why: what a reader must know about the verdict.
    """

    claim: str
    scheme: str
    verdict: Verdict
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
        raise UserError(f"no claim is about a model of suite {params.suite}; `python -m bench compose paper` has them")
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


MISMATCH: Verdict = "protocol mismatch"


def _findings(params: Params, claims: Claims, results: dict[str, CellResult], registry: Registry) -> Iterator[Finding]:
    for name, claim in claims.claims.items():
        for keys in _groups(params, claim):
            wrong = _mismatch(params, keys, claims, results, registry)
            recovered = recovered_by(params, results, keys)
            scheme = str(params.cells[keys[0]].scheme)
            yield _finding(name, claim, scheme, recovered["accuracy"] if recovered else None, wrong)


def _groups(params: Params, claim: Claim) -> list[SeedGroup]:
    """Return the cells that a claim is about, those of one row together."""

    def about(key: str) -> bool:
        cell = params.cells[key]
        source = params.models.get(cell.model)
        right = isinstance(source, HubModel) and source.repo == claim.model and cell.method_name == claim.method
        return right and cell.has_sw and key in params.report.baselines

    return [keys for keys in params.seed_groups() if about(keys[0])]


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
    more = more_needed(share[1], share[2], claim.range) if share and verdict == "inconclusive" else None
    return Finding(
        name, scheme, verdict, share, claim.range, recovered.n_items, recovered.n_seeds, more, "; ".join(why)
    )


def _mismatch(
    params: Params, keys: SeedGroup, claims: Claims, results: dict[str, CellResult], registry: Registry
) -> str | None:
    """Name what of a row was not made as published; None if nothing was.

    It is a block that was not trained as the recipe says, or a perplexity behind the row that differs from the
    published one.

    Behind a row are its model's full precision, RTN at its scheme, and its own bases. Where sources disagree, it is
    enough to agree with one.
    """
    cell = params.cells[keys[0]]
    source = params.models[cell.model]
    assert isinstance(source, HubModel), "claims are about models on the hub"
    bases = {params.report.baselines[key] for key in keys}
    for key in (*keys, *sorted(bases)):
        if key in results and (blocks := results[key].retried_blocks):
            return f"{key}: block {', '.join(blocks)} was trained again at a lower rate than the recipe's"
    for other, result in results.items():
        anchor = params.cells[other]
        name = anchor.method_name
        alike = anchor.model == cell.model and anchor.scheme in (None, cell.scheme)
        if not alike or name not in claims.tolerance or (name not in RECIPELESS and other not in bases):
            continue
        figures = registry.find(source.repo, name, str(anchor.scheme) if anchor.scheme else None)
        for text, measured in result.summary["perplexity"].items():
            printed = {figure.source: figure.perplexity[text] for figure in figures if text in figure.perplexity}
            near = [abs(measured / value - 1) <= claims.tolerance[name] / 100 for value in printed.values() if measured]
            if printed and min(printed.values()) <= COLLAPSED and not any(near):
                said = ", ".join(f"{value:g} ({place})" for place, value in printed.items())
                found = "diverged" if measured is None else f"{measured:.2f}"
                return f"{other}: {text} perplexity {found}, published {said}"
    return None


RECIPELESS = ("fp", "rtn")  # without a recipe, only the protocol can differ
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
            "The verdict follows from the 95 % interval of the share. *Supported*: the interval is above 0 and overlaps"
            " the claimed range. *Smaller* or *larger than claimed*: it is above 0, but outside the range."
            " *Contradicted*: it is at or below 0, or it contains 0 and ends below the range. *Inconclusive*: it"
            " contains 0 and reaches into the range. *Withheld*: there is no share. *Protocol mismatch* replaces any of"
            " these if full precision, RTN or the row's base misses its published perplexity, or if a block was not"
            " trained as the recipe says."
            " *Needed* is the factor by which items and seeds must grow for a clear verdict.",
            *claims.assumptions,
            f"Not stated by the source: {unknown}.",
        ]
    )
