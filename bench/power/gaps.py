"""What quantization loses at a row, before it runs: from published figures, or from results of the same row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.published.figures import Figure, Registry


@dataclass(frozen=True)
class Gap:
    """What a base loses to full precision.

    Attributes:
        lost: accuracy as a fraction of 1, or nats per token.
        source: where both numbers are from, for people.
    """

    lost: float
    source: str


def accuracy_gap(registry: Registry, repo: str, method: str, scheme: str, tasks: Sequence[str]) -> Gap | None:
    """Return the loss of mean accuracy; None if a side is not published for all tasks.

    Full precision is taken from the same source as the base, as two sources differ by tenths of a point; where that
    prints none, from the first that does. A mean as printed serves only where no source has the base's tasks.
    """
    base = _first(registry.find(repo, method, scheme), tasks)
    full = registry.find(repo, "fp", None)
    if base is None or (found := _first(full, tasks, base[1])) is None:
        return None
    source = base[1] if base[1] == found[1] else f"{base[1]}, full precision {found[1]}"
    return Gap((found[0] - base[0]) / 100, source)


def perplexity_gap(registry: Registry, repo: str, method: str, scheme: str, texts: Sequence[str]) -> Gap | None:
    """Return the loss of log-perplexity, the mean over those texts that are published; None if none is."""
    lost, sources = [], []
    for text in texts:
        sides = [registry.find(repo, method, scheme), registry.find(repo, "fp", None)]
        base, full = ([(f.perplexity[text], f.source) for f in side if text in f.perplexity] for side in sides)
        if base and full:
            lost.append(math.log(base[0][0] / full[0][0]))
            sources += [base[0][1], full[0][1]]
    return Gap(sum(lost) / len(lost), ", ".join(dict.fromkeys(sources))) if lost else None


def _first(figures: Sequence[Figure], tasks: Sequence[str], source: str | None = None) -> tuple[float, str] | None:
    """Return the mean accuracy in percent and its source; those of `source` first, and printed means last."""
    ordered = sorted(figures, key=lambda figure: figure.source != source)
    found = [(mean, f.source) for f in ordered if (mean := f.mean_accuracy(tasks)) is not None]
    found += [(f.mean_acc, f.source) for f in ordered if f.mean_acc is not None]
    return found[0] if found else None
