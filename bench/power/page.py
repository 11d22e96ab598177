"""The page that `python -m bench power` prints, and the same as JSON."""

from __future__ import annotations

import math
from typing import Any

from bench.analysis.recovery import MIN_SEEDS
from bench.power.decisions import Decision
from bench.power.design import CAP, MANY
from bench.power.measured import Measured
from bench.power.plan import Forecast, Plan
from bench.power.rows import ACCURACY, LOG_PERPLEXITY
from bench.render.pages import Part, markdown_page
from bench.render.table import Table

NEVER, TOO_MANY = "never", f"> {CAP:,}"
HEADERS = ("row", "model", "scheme", "lost", "seeds", "half-width")


def page(plan: Plan) -> str:
    """Return the page as text."""
    return markdown_page(parts(plan)).rstrip()


def parts(plan: Plan) -> list[Part]:
    """Return the page: half-widths and seeds of each row, what claims can be decided, and where it comes from."""
    found: list[Part] = [
        f"What suite `{plan.suite}` can decide, before it runs. All shares in % of what the base lost; 95 % intervals."
    ]
    for name, unit in ((LOG_PERPLEXITY, "nats per token"), (ACCURACY, "points")):
        found += [f"Recovered share of {name} (lost: {unit}).", _widths(plan, name)]
    found.append(_legend(plan))
    if plan.decided:
        found += ["What it can decide of each claim.", _decisions(plan.decided), _rule(plan)]
    return [*found, *_sources(plan.sources)]


def _legend(plan: Plan) -> str:
    wanted = plan.wanted
    return (
        f"*Half-width*: the expected median, where nothing is recovered. Below {MIN_SEEDS} seeds (*) it is over items"
        " alone, as an interval is then, and no verdict follows. *With any*: what items leave if seeds do not end."
        f" *Seeds for* a half-width of {wanted.half_width:g}; *to see* {wanted.effect:g}, that is an interval that"
        f" excludes 0 if this is true, with a chance of {100 * wanted.chance:g} %; *for inside* ± {wanted.bound:g}, if"
        " 0 is true, with the same chance. In brackets: GPU hours of that many, a base and a treated cell each, as"
        f" `estimate` counts; none where the model's shapes are not at hand. The fewest are {MIN_SEEDS}; *{TOO_MANY}*"
        f" is out of reach; *{NEVER}*: with no number. *Withheld*: what is lost is not clear enough for a share."
    )


def _widths(plan: Plan, name: str) -> Table:
    wanted = plan.wanted
    headers = [*HEADERS, f"with {MIN_SEEDS}", "with any", f"seeds for ± {wanted.half_width:g}"]
    headers += [f"to see {wanted.effect:g}", f"for inside ± {wanted.bound:g}", "variances"]
    rows = [_line(forecast, name) for forecast in plan.forecasts if forecast.endpoint.name == name]
    return Table(rows, headers, left=3)


def _line(forecast: Forecast, name: str) -> list[str]:
    row, gap = forecast.row, forecast.endpoint.gap
    if gap is None:
        lost = "no published gap"
    else:
        lost = f"{gap.lost:.2f} ({gap.source})" if name == LOG_PERPLEXITY else f"{100 * gap.lost:.1f} ({gap.source})"
    own = _percent(forecast.half_width()) + ("*" if forecast.half_width() and row.n_seeds < MIN_SEEDS else "")
    wanted = (forecast.seeds_for_half_width, forecast.seeds_for_effect, forecast.seeds_for_equivalence)
    return [
        row.label,
        row.cell.model,
        str(row.cell.scheme),
        lost,
        str(row.n_seeds),
        own,
        *(_percent(forecast.half_width(n)) for n in (MIN_SEEDS, MANY)),
        *(_with_hours(seeds, row.hours) for seeds in wanted),
        row.borrowed,
    ]


def _percent(value: float | None) -> str:
    return "" if value is None else "withheld" if math.isinf(value) else f"{value:.1f}"


def _seeds(value: float | None) -> str:
    if value is None:
        return ""
    return NEVER if math.isinf(value) else TOO_MANY if math.isnan(value) else f"{value:.0f}"


def _with_hours(seeds: float | None, hours: float | None) -> str:
    """Return a number of seeds with the hours that it takes, where both are known."""
    if seeds is None or hours is None or not math.isfinite(seeds):
        return _seeds(seeds)
    return f"{_seeds(seeds)} ({seeds * hours:,.0f} h)"


def _decisions(found: tuple[Decision, ...]) -> Table:
    rows = []
    for decision in found:
        ends = [
            f"{100 * share:.4g} %: {answer}" for share, answer in zip(decision.shares, decision.answers, strict=True)
        ]
        width = None if decision.half_width is None else 100 * decision.half_width
        rows.append(
            [decision.claim, decision.scheme, str(decision.n_seeds), _percent(width), *ends, *[""] * (2 - len(ends))]
        )
    headers = ["claim", "scheme", "seeds", "half-width", "its share, or its lower end", "its upper end"]
    return Table(rows, headers, left=2)


def _rule(plan: Plan) -> str:
    return (
        f"*Can decide*: with the suite's seeds the interval excludes 0 in {100 * plan.wanted.chance:g} % of cases or"
        " more, if that share is true. A share within the range needs a number between those of its ends. *Any*: the"
        " easiest of the claim's settings. *Every*: perplexity improves in all of them, so the hardest counts, by"
        f" {plan.wanted.effect:g} % each. All is at the single level, without the correction for several settings."
    )


def _sources(sources: tuple[Measured, ...]) -> list[str]:
    said = []
    for row in sources:
        dropped = f" without {row.n_collapsed} that collapsed" if row.n_collapsed else ""
        said.append(
            f"{row.called}: {row.n_seeds} seeds, {row.n_windows} windows{dropped}; {100 * row.changed:.0f} % of answers"
            f" change with a seed, of whose variance {100 * row.returning:.0f} % returns with every seed"
        )
    df = min(row.n_seeds for row in sources) - 1
    return [
        f"Variances were measured in `results/`: {'; '.join(said)}. *Borrowed*: from another model or scheme, the"
        " nearest of that method by bits; those of log-perplexity as fractions of what is lost, those of accuracy as"
        " they are.",
        f"They have {df} degrees of freedom or a few more: an 80 % upper bound asks for {upper(df):.1f} times the"
        " seeds. How much of the changed answers returns with every seed decides between *never* and many seeds, and"
        " is known to ± 5 % of a seed's variance from five seeds and 250 documents. Windows that collapse are not in"
        " it: medians stand in their place then, and are wider.",
        "Gaps are published for other recipes than the suite's. Texts are taken to share the effect of a seed.",
    ]


def upper(df: int, level: float = 0.8) -> float:
    """Return by which factor a variance may be larger than its estimate, at a one-sided level."""
    from scipy import special

    return float(df / (2 * special.gammaincinv(df / 2, 1 - level)))


def as_json(plan: Plan) -> dict[str, Any]:
    """Return the plan as plain values: shares in percent, lost accuracy in points, lost log-perplexity in nats."""
    return {
        "suite": plan.suite,
        "wanted": vars(plan.wanted),
        "rows": [_values(forecast) for forecast in plan.forecasts],
        "claims": [
            {
                "claim": d.claim,
                "scheme": d.scheme,
                "seeds": d.n_seeds,
                "half_width": _finite(None if d.half_width is None else 100 * d.half_width),
                "shares": [100 * share for share in d.shares],
                "answers": d.answers,
            }
            for d in plan.decided
        ],
        "variances": [
            {"from": row.called, "seeds": row.n_seeds, "windows": row.n_windows, "collapsed": row.n_collapsed}
            for row in plan.sources
        ],
    }


def _values(forecast: Forecast) -> dict[str, Any]:
    row, gap = forecast.row, forecast.endpoint.gap
    return {
        "row": row.name,
        "endpoint": forecast.endpoint.name,
        "lost": gap and (100 * gap.lost if forecast.endpoint.name == ACCURACY else gap.lost),
        "lost_from": gap and gap.source,
        "seeds": row.n_seeds,
        "half_width": _finite(forecast.half_width()),
        f"half_width_{MIN_SEEDS}_seeds": _finite(forecast.half_width(MIN_SEEDS)),
        "half_width_any_seeds": _finite(forecast.half_width(MANY)),
        "seeds_for_half_width": _number(forecast.seeds_for_half_width),
        "seeds_for_effect": _number(forecast.seeds_for_effect),
        "seeds_for_equivalence": _number(forecast.seeds_for_equivalence),
        "hours_a_seed": row.hours,
        "variances": row.borrowed,
    }


def _number(seeds: float | None) -> int | str | None:
    """Return a number of seeds, or the word of the page where none is enough."""
    return _seeds(seeds) or None if seeds is None or not math.isfinite(seeds) else int(seeds)


def _finite(value: float | None) -> float | None:
    """Return a number that JSON can hold; None where the share is mostly withheld, or nothing is known."""
    return None if value is None or math.isinf(value) else value
