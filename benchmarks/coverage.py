"""Do nominal 95 % intervals of a recovered share contain the truth 95 times in 100? Counted in simulated experiments.

    python benchmarks/coverage.py                    # 2,000 experiments in each of 12 settings, minutes on one core
    python benchmarks/coverage.py --experiments 200

An experiment draws items and seeds anew: the five tasks at their real sizes, full precision at LLaMA-2-7B's accuracies,
a base that lost `gap` points, a treatment that recovers a tenth of it. A model answers an item correctly if the item's
ease, shared by all models, plus the model's own noise exceeds a threshold. Each training moves a true accuracy by
`seed sd` points, half of it shared by base and treated of one seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
from scipy.stats import norm

from bench.analysis.recovery import Stratum, recovery

SIZES = (1267, 10042, 1172, 2376, 1838)  # WinoGrande, HellaSwag, ARC-challenge, ARC-easy, PIQA
ACCURACIES = (0.69, 0.57, 0.43, 0.76, 0.78)
SHARE = 0.1  # true recovered share of what was lost
SHARED = 0.9  # share of an answer's variance that comes from the item


def experiment(rng: np.random.Generator, gap: float, seed_sd: float, n_seeds: int) -> list[Stratum]:
    """Draw one experiment; `gap` and `seed_sd` are in points of accuracy."""
    common, own = rng.normal(size=n_seeds), rng.normal(size=(2, n_seeds))
    shifts = seed_sd * (common + own) / np.sqrt(2) / 100
    strata = []
    for size, accuracy in zip(SIZES, ACCURACIES, strict=True):
        ease = np.sqrt(SHARED) * rng.normal(size=size)

        def answers(true: np.ndarray, ease: np.ndarray = ease) -> np.ndarray:
            noise = np.sqrt(1 - SHARED) * rng.normal(size=(len(true), len(ease)))
            return (ease + noise > -norm.ppf(true)[:, None]).astype(float)

        lost = gap / 100
        base = answers(accuracy - lost + shifts[0])
        treated = answers(accuracy - lost + SHARE * lost + shifts[1])
        strata.append(Stratum(answers(np.array([accuracy]))[0], base, treated))
    return strata


def covered(rng: np.random.Generator, gap: float, seed_sd: float, n_seeds: int, n: int) -> Iterator[list[bool | None]]:
    """Yield, per experiment, whether each interval contains its truth: lost, gained, share (None where suppressed)."""
    truths = (gap / 100, SHARE * gap / 100, SHARE)
    for _ in range(n):
        found = recovery(experiment(rng, gap, seed_sd, n_seeds))
        intervals = (found.lost, found.gained, found.share)
        yield [i.low <= truth <= i.high if i else None for i, truth in zip(intervals, truths, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    print("| gap, points | seed sd, points | lost | gained | share | suppressed | share or suppressed |")
    print("|---|---|---|---|---|---|---|")
    for gap in (1, 3, 9, 18):
        for seed_sd in (0.2, 0.5, 1.0):
            rng = np.random.default_rng([gap, int(10 * seed_sd), options.seeds])
            results = list(covered(rng, gap, seed_sd, options.seeds, options.experiments))
            lost, gained = (100 * np.mean([r[i] for r in results]) for i in (0, 1))
            shares = [r[2] for r in results if r[2] is not None]
            suppressed = 1 - len(shares) / len(results)
            share = f"{100 * np.mean(shares):.1f}" if shares else "n/a"
            kept = 100 * (sum(shares) + len(results) - len(shares)) / len(results)
            print(
                f"| {gap} | {seed_sd} | {lost:.1f} | {gained:.1f} | {share} | {100 * suppressed:.1f} | {kept:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
