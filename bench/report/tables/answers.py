"""Does SW help? The words of an answer, which follow from the interval and from a bound that the plan names."""

from __future__ import annotations

from bench.analysis.compare import measures
from bench.analysis.recovery import MIN_SEEDS, NOTHING_LOST, Recovery
from bench.config.params import Params
from bench.report.tables.columns import show_share

ORDER = ("log_perplexity", "divergence", "log_probability", "accuracy")  # the most telling first
NO_EFFECT = "no effect of practical size"


def in_order(params: Params) -> list[str]:
    """Return the suite's measures as tables of answers show them."""
    return [measure for measure in ORDER if measure in measures(params)]


def answers(params: Params, recovered: dict[str, Recovery], planned: bool) -> list[str]:
    """Say in each measure what SW does, and how sure that is; a bound holds for what was `planned`."""
    found = words(params, recovered, planned)
    return [f"{word}: {show_share(recovered, measure)}" for measure, word in found.items()]


def words(params: Params, recovered: dict[str, Recovery], planned: bool) -> dict[str, str]:
    """Say in each measure in a word what SW does."""
    bounds = planned_bounds(params) if planned else {}
    return {measure: effect(recovered[measure], bounds.get(measure)) for measure in in_order(params)}


def planned_bounds(params: Params) -> dict[str, float]:
    """Return the plan's bound, as a share, for each of its measures; empty without a plan."""
    return {measure: params.plan.bound / 100 for measure in params.plan.measures} if params.plan else {}


def effect(recovered: Recovery, bound: float | None = None) -> str:
    """Say what the interval of the share says; if there is no share because nothing was lost, that of the gain.

    Args:
        recovered: of one measure.
        bound: a share, named before the run; an interval inside ±bound has no effect of practical size.
    """
    if recovered.withheld not in (None, NOTHING_LOST):
        return "open"
    share, interval = recovered.share, recovered.share or recovered.gained
    enough = recovered.n_seeds >= MIN_SEEDS
    if bound and share and enough and -bound < share.low and share.high < bound:
        return NO_EFFECT
    if interval.low <= 0 <= interval.high:
        return "open"
    if not enough:
        with_these = "with this seed" if recovered.n_seeds == 1 else "with these seeds"
        return f"{'better' if interval.low > 0 else 'worse'} {with_these}"
    return "helps" if interval.low > 0 else "hurts"


def bounded(params: Params) -> str:
    """Explain the answer that a bound makes possible; empty without a plan."""
    if params.plan is None:
        return ""
    return (
        f" Of the plan's arms and measures, an interval inside ±{params.plan.bound:g} % says *{NO_EFFECT}*, also if it"
        f" does not hold 0. That needs {MIN_SEEDS} seeds too."
    )
