"""The page that `python -m bench verify` prints."""

from __future__ import annotations

from bench.published.claims import Claims
from bench.published.findings import Finding
from bench.render.table import Table

RULES = (
    "A verdict follows from a 95 % interval over items and seeds. Below five seeds there is none: a finding is"
    " *provisional*, and what it would say stands behind it. How far two trainings drift apart by chance is not in it."
    " *Protocol mismatch* replaces any of these if full precision, RTN, or a row of the method by a published recipe"
    " misses its published perplexity, or if a block was not trained as the recipe says. It speaks against nobody's"
    " claim. *Anchor*: the row by a published recipe that agrees with its figures; *no anchor* where no row follows a"
    " recipe with published figures.",
    "*Together*: the interval at the level at which those of all settings of the claim hold together in 95 % of cases"
    " (Bonferroni), and what it says; settings that were not run count too. *p*: of nothing gained, corrected by Holm's"
    " rule.",
)
SHARES = (
    "*Supported*: the interval is above 0 and overlaps the claimed range. *Smaller* or *larger than claimed*: it is"
    " above 0, but outside the range. *Contradicted*: it is at or below 0, or it contains 0 and ends below the range."
    " *Inconclusive*: it contains 0 and reaches into the range. *Withheld*: there is no share. *Pooled*: the ratio of"
    " summed gains to summed losses over the claim's settings, seeds as clusters; it stays provisional until every"
    " setting was run. *Needed* is the factor by which items and seeds must grow for a clear verdict."
)
DIRECTIONS = (
    "*Supported*: better in every setting, each at the single level. *Contradicted*: worse in one setting at least, at"
    " the level of all together. *Inconclusive*: neither. Where windows of text collapse, no interval of the mean"
    " holds; the median over windows stands in its place."
)


def page(claims: Claims, findings: list[Finding]) -> str:
    """Return what the suite says about each claim, and by which rules."""
    shares = [finding for finding in findings if finding.claim in claims.claims]
    directions = [finding for finding in findings if finding.claim in claims.directions]
    left_open = {name: claim.unknown for name, claim in claims.claims.items()}
    left_open |= {name: direction.unknown for name, direction in claims.directions.items()}
    unknown = "; ".join(f"{name}: {', '.join(what)}" for name, what in left_open.items())
    return "\n\n".join(
        [
            f"Claims of {claims.source}{_elsewhere(claims)}.",
            *(["Recovered share of lost accuracy, in %.", _shares(shares), SHARES] if shares else []),
            *(["Log-perplexity gained, in nats per token.", _directions(directions), DIRECTIONS] if directions else []),
            *RULES,
            *claims.assumptions,
            f"Not stated by the source: {unknown}.",
        ]
    )


def _elsewhere(claims: Claims) -> str:
    own = [f"; {name}: {claim.source}" for name, claim in claims.claims.items() if claim.source]
    return "".join(own)


def _shares(findings: list[Finding]) -> str:
    rows = [
        [
            finding.claim,
            finding.scheme,
            "{:g} to {:g}".format(*finding.claimed) if finding.claimed else "",
            "{:.1f} [{:.1f}, {:.1f}]".format(*finding.share) if finding.share else "",
            _verdict(finding),
            _together(finding, 1),
            _p(finding),
            *_behind(finding),
            f"{finding.more:g} x" if finding.more else "",
            finding.anchor,
            finding.why,
        ]
        for finding in findings
    ]
    measured = ["claim", "scheme", "claimed, %", "measured, %", "verdict", "together", "p"]
    return Table(rows, [*measured, "items", "seeds", "needed", "anchor", "note"], left=2).markdown()


def _directions(findings: list[Finding]) -> str:
    rows = [
        [
            finding.claim,
            finding.scheme,
            "{:.4f} [{:.4f}, {:.4f}]".format(*finding.gained) if finding.gained else "",
            _verdict(finding),
            _together(finding, 4),
            _p(finding),
            *_behind(finding),
            finding.anchor,
            finding.why,
        ]
        for finding in findings
    ]
    headers = ["claim", "scheme", "gained", "verdict", "together", "p", "items", "seeds", "anchor", "note"]
    return Table(rows, headers, left=2).markdown()


def _verdict(finding: Finding) -> str:
    return f"**{finding.verdict}**" + (f": {finding.reading}" if finding.reading else "")


def _together(finding: Finding, digits: int) -> str:
    if finding.corrected is None:
        return finding.corrected_verdict or ""
    low, high = finding.corrected
    return f"[{low:.{digits}f}, {high:.{digits}f}] {finding.corrected_verdict}"


def _p(finding: Finding) -> str:
    return "" if finding.p is None else f"{finding.p:.3f}" if finding.p >= 0.001 else "< 0.001"


def _behind(finding: Finding) -> list[str]:
    return [str(finding.n_items or ""), str(finding.n_seeds or "")]
