"""What `python -m bench power` predicts, beside what `recovery` makes of simulated experiments.

    python benchmarks/power.py                     # 1,000 experiments in each line, ten minutes on one core
    python benchmarks/power.py --experiments 200

Log-perplexity is drawn with the variances of suite `smollm2`, as in benchmarks/verdicts.py. Accuracy is drawn as right
and wrong answers: some items are sure, and of an unsure one every training answers anew. Each line shows the median
half-width where nothing is recovered, how often an interval excludes 0 where EFFECT is true, and how often it lies
inside ± BOUND where 0 is; all in percent. The last line is of how well five seeds tell what returns with every seed.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.analysis.recovery import Array, Stratum, recovery
from bench.power.components import Components, components, root
from bench.power.design import Design
from bench.power.measured import load_measured
from benchmarks.verdicts import Variances, experiment

EFFECT, BOUND = 0.1, 0.05
SHAPES = ((5, 8), (5, 64), (12, 64), (24, 64))  # seeds, windows
WHOLE = (1267, 10042, 1172, 2376, 1838)  # documents of the five tasks
FIFTY = (50,) * 5
ANSWERS = (  # changed, lost, seeds, documents
    (0.11, 0.019, 5, WHOLE),
    (0.11, 0.024, 12, WHOLE),
    (0.12, 0.055, 5, WHOLE),
    (0.13, 0.178, 5, WHOLE),
    (0.13, 0.178, 1, WHOLE),
    (0.12, 0.2, 5, FIFTY),
    (0.12, 0.2, 24, FIFTY),
)
Draw = Callable[[np.random.Generator, float], list[Stratum]]  # an experiment in which a share is true


@dataclass(frozen=True)
class Line:
    """Half-width, chance of an effect and chance of equivalence, as fractions."""

    half_width: float
    effect: float
    equivalence: float

    def show(self) -> list[str]:
        return [f"{100 * value:.1f}" for value in (self.half_width, self.effect, self.equivalence)]


def predicted(design: Design, n_seeds: int) -> Line:
    return Line(
        design.half_width(n_seeds),
        design.chance_of_effect(n_seeds, EFFECT),
        design.chance_of_equivalence(n_seeds, BOUND),
    )


def simulated(draw: Draw, n_seeds: int, n: int, seed: int) -> Line:
    """Return what `recovery` says of `n` experiments; a withheld share is infinitely wide, and concludes nothing."""
    rng = np.random.default_rng(seed)
    widths, inside, excluded = [], 0, 0
    for _ in range(n):
        share = recovery(draw(rng, 0.0)).share
        widths.append((share.high - share.low) / 2 if share else math.inf)
        inside += bool(share and share.low > -BOUND and share.high < BOUND)
        share = recovery(draw(rng, EFFECT)).share
        excluded += bool(share and (share.low > 0 or share.high < 0))
    concludes = n_seeds >= 5
    return Line(float(np.median(widths)), concludes * excluded / n, concludes * inside / n)


def text(parts: Components, shape: tuple[int, int]) -> Draw:
    """Draw log-perplexity: windows of one text, with what is lost as the unit."""
    row = Variances(1.0, root(parts.seeds), root(parts.items), root(parts.rest))
    return lambda rng, share: experiment(rng, [row], share, shape)


def answers(changed: float, lost: float, n_seeds: int, sizes: tuple[int, ...]) -> Draw:
    """Draw right and wrong answers of full precision, base and treated.

    Of 2 `changed` of the items every training answers anew, by a coin: two of them differ in half of these. Of the sure
    ones, the base loses some for good. The treated model is right in a part of what is lost, anew with every seed.
    """
    unsure, gone = 2 * changed, lost / (1 - 2 * changed)

    def draw(rng: np.random.Generator, share: float) -> list[Stratum]:
        found = []
        for size in sizes:
            coin, full = rng.random(size) < unsure, rng.random(size) < 0.6
            # a sure item that is lost was right before
            sure = full & ~(rng.random(size) < gone / 0.6)
            base, treated = (np.where(coin, rng.random((n_seeds, size)) < 0.6, sure) for _ in range(2))
            treated |= full & ~sure & ~coin & (rng.random((n_seeds, size)) < share)
            found.append(Stratum(*(values.astype(float) for values in (full, base, treated))))
        return found

    return draw


def of_answers(changed: float, sizes: tuple[int, ...], lost: float) -> Design:
    """Return the design that `answers` draws from, as `power` would measure it."""
    unsure, gone = 2 * changed, lost / (1 - 2 * changed)
    rest = unsure * 0.24  # of one answer by a coin of 0.6
    kept = (1 - unsure) * gone + unsure * 0.24 - lost**2  # of f - E[b]: lost for good, and full precision's own coin
    return Design(
        lost,
        Components(np.zeros((2, 2)), np.array([[0.0, 0.0], [0.0, kept]]), np.array([[2 * rest, rest], [rest, rest]])),
        sizes,
    )


def returning(changed: float, n: int) -> Array:
    """Return which part of a seed's variance seems to return with every seed, in `n` experiments where none does."""
    rng = np.random.default_rng(9)
    draw = answers(changed, 0.05, 5, FIFTY)
    found = []
    for _ in range(n):
        parts = [components(stratum.contrasts()) for stratum in draw(rng, 0.0)]
        items, rest = (sum(getattr(part, name)[0, 0] for part in parts) for name in ("items", "rest"))
        found.append(items / (items + rest))
    return np.array(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", type=int, default=1000)
    n = parser.parse_args().experiments
    headers = ["drawn from", "seeds", "items"]
    headers += [
        f"{what}, {how}" for what in ("half-width", "sees 10", "inside ± 5") for how in ("predicted", "simulated")
    ]
    print("|", " | ".join(headers), "|\n|" + "---|" * len(headers))

    def line(name: str, n_seeds: int, items: int, design: Design, draw: Draw, seed: int) -> None:
        both = zip(predicted(design, n_seeds).show(), simulated(draw, n_seeds, n, seed).show(), strict=True)
        print(
            "|",
            " | ".join([name, str(n_seeds), str(items), *(cell for pair in both for cell in pair)]),
            "|",
            flush=True,
        )

    for place, row in enumerate(load_measured()):
        for shape in SHAPES:
            parts = row.log_perplexity
            line(
                row.called,
                *shape,
                Design(1.0, parts, (shape[1],)),
                text(parts, shape),
                100 * place + shape[0] + shape[1],
            )
    for place, (changed, lost, n_seeds, sizes) in enumerate(ANSWERS):
        name = f"answers, {100 * lost:.1f} points lost, {100 * changed:.0f} % change"
        draw = answers(changed, lost, n_seeds, sizes)
        line(name, n_seeds, sum(sizes), of_answers(changed, sizes, lost), draw, 1000 + place)
    part = returning(0.11, n)
    print(
        f"\nof a seed's variance seem to return with every seed, where nothing does: {100 * part.mean():.0f} %", end=""
    )
    print(f" ± {100 * part.std():.0f}")


if __name__ == "__main__":
    main()
