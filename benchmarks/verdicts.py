"""How often do answers and verdicts say what is not true? Counted in experiments with the variances of real results.

    python benchmarks/verdicts.py                     # 2,000 experiments in each line, a quarter of an hour on one core
    python benchmarks/verdicts.py --experiments 200

The variances are those of log-perplexity in `results/smollm2/cells.json`: of seeds, of windows and of both together,
each with the covariance of what was gained and lost. Windows that collapsed are left out of them; collapses are drawn
in experiments of their own. An experiment draws seeds and windows anew. The true share is 0 or a tenth. A claim's four
settings are the four rows, with half of the variance of seeds and of windows shared between them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.analysis.median_windows import collapsed, median_share, n_collapsed
from bench.analysis.recovery import Array, Interval, Recovery, Stratum, p_of_gain, recovery
from bench.power.components import components, root
from bench.published.claims import judge, with_seeds
from bench.published.pooled import holm, pooled
from bench.report.tables.answers import effect

CELLS = Path("results/smollm2/cells.json")
ROWS = ("w3a16g64-omniquant", "w3a16g64-tesseraq", "w2a16g32-omniquant", "w2a16g32-tesseraq")
CLAIMED = (4.12, 20.37)  # percent, the widest of the paper's ranges
SHARED = 0.5  # of the variance of seeds and of windows, between settings
PRONE, DEPTH = 0.1, 4.0  # share of windows that may collapse, and how far, in mean nats a token
OFTEN, LESS = 0.25, 0.1  # how often such a window does, and how often with a treatment that helps against it


@dataclass(frozen=True)
class Variances:
    """Of one row: the mean loss, and (2, 2) square roots of the covariance of (gained, lost) by source."""

    lost: float
    seeds: Array
    windows: Array
    rest: Array


def variances(row: str, path: Path = CELLS) -> Variances:
    """Estimate a row's variances from its five seeds, without the windows that collapsed (method of moments)."""
    scheme, method = row.split("-")
    cells = json.loads(path.read_text(encoding="utf-8"))

    def loss(*parts: str) -> Array:
        return -np.array(cells["-".join(("smollm2-smollm2-135m", *parts))]["window_losses"]["perplexity"])

    base = np.stack([loss(scheme, method, f"s{seed}") for seed in range(1, 6)])
    treated = np.stack([loss(scheme, method, "sw", f"s{seed}") for seed in range(1, 6)])
    stratum = Stratum(loss("fp"), base, treated)
    values = stratum.contrasts()[:, :, ~collapsed(stratum)]
    parts = components(values)
    return Variances(float(values[1].mean()), *map(root, (parts.seeds, parts.items, parts.rest)))


def experiment(
    rng: np.random.Generator, rows: Iterable[Variances], share: float, shape: tuple[int, int]
) -> list[Stratum]:
    """Draw one experiment of (n_seeds, n_windows): a stratum for each row, whose settings share a part of the draws."""
    n_seeds, n_windows = shape
    common = rng.normal(size=(2, n_seeds)), rng.normal(size=(2, n_windows))
    found = []
    for row in rows:
        own = rng.normal(size=(2, n_seeds)), rng.normal(size=(2, n_windows))
        seeds, windows = (np.sqrt(SHARED) * c + np.sqrt(1 - SHARED) * o for c, o in zip(common, own, strict=True))
        rest = np.tensordot(row.rest, rng.normal(size=(2, *shape)), axes=1)
        gained, lost = (row.seeds @ seeds)[:, :, None] + (row.windows @ windows)[:, None, :] + rest
        lost += row.lost
        gained += share * row.lost
        reference = np.zeros(n_windows)
        found.append(Stratum(reference, -lost, gained - lost))
    return found


def collapse(rng: np.random.Generator, stratum: Stratum, of_treated: float) -> Stratum:
    """Let prone windows collapse now and then; `of_treated` is how often the treated model's do."""
    prone = rng.random(len(stratum.reference)) < PRONE

    def broken(values: Array, often: float) -> Array:
        hit = prone & (rng.random(values.shape) < often)
        return values - hit * rng.exponential(DEPTH, values.shape)

    return Stratum(stratum.reference, broken(stratum.base, OFTEN), broken(stratum.treated, of_treated))


def holds(interval: Interval | None, truth: float) -> bool | None:
    return None if interval is None else interval.low <= truth <= interval.high


def single(rng: np.random.Generator, row: Variances, shape: tuple[int, int]) -> dict[str, bool | None]:
    """Return what one experiment of one setting says."""
    null, tenth = (recovery(experiment(rng, [row], share, shape)) for share in (0.0, 0.1))
    return {
        "excludes 0": not holds(null.gained, 0.0),
        "helps or hurts": effect(null) in ("helps", "hurts"),
        "supported": verdict(null, shape[0]) == "supported",
        "contradicted": verdict(tenth, shape[0]) == "contradicted",
        "holds 0": holds(null.share, 0.0),
        "holds 10": holds(tenth.share, 0.1),
    }


def verdict(found: Recovery, n_seeds: int) -> str:
    share = found.share
    return with_seeds(judge(100 * share.low, 100 * share.high, CLAIMED), n_seeds)[0] if share else "withheld"


def claim(
    rng: np.random.Generator, rows: list[Variances], share: float, shape: tuple[int, int]
) -> dict[str, bool | None]:
    """Return what one experiment of a claim with several settings says."""
    settings = [[stratum] for stratum in experiment(rng, rows, share, shape)]
    corrected = [holds(recovery(strata, len(rows)).share, share) for strata in settings]
    adjusted = holm([p_of_gain(strata) for strata in settings])
    whole = sum(row.lost * share for row in rows) / sum(row.lost for row in rows)
    return {
        "all corrected hold": None if None in corrected else all(corrected),
        "Holm rejects one": any(p is not None and p < 0.05 for p in adjusted),
        "pooled holds": holds(recovery(pooled(settings)).share, whole),
    }


def collapsing(rng: np.random.Generator, row: Variances, shape: tuple[int, int]) -> dict[str, bool | None]:
    """Return what one experiment with collapsing windows says."""
    null = [collapse(rng, experiment(rng, [row], 0.0, shape)[0], OFTEN)]
    tenth = [collapse(rng, experiment(rng, [row], 0.1, shape)[0], LESS)]
    mean_share = (0.1 * row.lost + PRONE * (OFTEN - LESS) * DEPTH) / (row.lost + PRONE * OFTEN * DEPTH)

    def both(strata: list[Stratum], of_mean: float, of_median: float) -> tuple[bool | None, bool | None, bool | None]:
        mean, median = recovery(strata).share, median_share(strata)
        printed = median if n_collapsed(strata) else mean
        return holds(mean, of_mean), holds(median, of_median), holds(printed, of_median)

    mean_0, median_0, printed_0 = both(null, 0.0, 0.0)
    mean_10, median_10, printed_10 = both(tenth, mean_share, 0.1)
    return {
        "mean withheld": n_collapsed(null) > 0,
        "mean holds 0": mean_0,
        "median holds 0": median_0,
        "printed holds 0": printed_0,
        "mean holds 10": mean_10,
        "median holds 10": median_10,
        "printed holds 10": printed_10,
    }


def counted(draw: Callable[[], dict[str, bool | None]], n: int) -> list[str]:
    """Return how often each answer was yes in `n` experiments, in percent of those that had one."""
    drawn = [draw() for _ in range(n)]
    found = []
    for name in drawn[0]:
        known = [d[name] for d in drawn if d[name] is not None]
        found.append(f"{100 * float(np.mean(known)):.1f}" if known else "n/a")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", type=int, default=2000)
    n = parser.parse_args().experiments
    rows = {row: variances(row) for row in ROWS}
    print(
        "| row | seeds | windows | excludes 0 | helps or hurts | supported | contradicted | holds 0 | holds 10 |\n|"
        + "---|" * 9
    )
    for row, given in rows.items():
        for shape in ((1, 8), (3, 8), (5, 8), (8, 8), (5, 64)):
            rng = np.random.default_rng([1, ROWS.index(row), *shape])
            cells = counted(lambda: single(rng, given, shape), n)  # noqa: B023
            print("|", " | ".join([row, *map(str, shape), *cells]), "|", flush=True)
    print("\n| share | seeds | windows | all corrected hold | Holm rejects one | pooled holds |\n|" + "---|" * 6)
    for share in (0.0, 0.1):
        for shape in ((5, 8), (8, 8), (5, 64)):
            rng = np.random.default_rng([2, int(100 * share), *shape])
            cells = counted(lambda: claim(rng, list(rows.values()), share, shape), n)  # noqa: B023
            print("|", " | ".join([str(share), *map(str, shape), *cells]), "|", flush=True)
    print(
        "\n| seeds | windows | mean withheld | mean holds 0 | median | printed | mean holds 10 | median | printed |\n|"
        + "---|" * 9
    )
    for shape in ((5, 8), (8, 8), (5, 64)):
        rng = np.random.default_rng([3, *shape])
        cells = counted(lambda: collapsing(rng, rows["w2a16g32-tesseraq"], shape), n)  # noqa: B023
        print("|", " | ".join([*map(str, shape), *cells]), "|", flush=True)


if __name__ == "__main__":
    main()
