"""Scored documents: the log-likelihood that a model gives to each of their choices."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Item:
    """One scored document.

    Attributes:
        task: its task.
        doc_id: its place in the split.
        doc_hash: SHA-256 of its content, by lm-eval.
        gold: index of the right choice.
        log_likelihoods: of each choice given the context, in nats, summed over its tokens; None where the model
            diverged, and then the document is neither right nor wrong.
    """

    task: str
    doc_id: int
    doc_hash: str
    gold: int
    log_likelihoods: tuple[float | None, ...]

    @property
    def diverged(self) -> bool:
        """Whether a log-likelihood is not finite."""
        return None in self.log_likelihoods

    @property
    def correct(self) -> bool:
        """Whether the right choice is the likeliest: lm-eval's `acc`. The first wins a tie."""
        return self.log_likelihoods.index(max(self._finite)) == self.gold

    @property
    def margin(self) -> float:
        """Log-likelihood of the right choice minus that of the best wrong one, in nats."""
        wrong = [value for index, value in enumerate(self._finite) if index != self.gold]
        return self._finite[self.gold] - max(wrong)

    @property
    def log_probability(self) -> float:
        """Log-probability of the right choice among the choices, in nats: a log-softmax over their log-likelihoods.

        It is at most 0. Unlike the margin, it sees all wrong choices, and gains nothing once the right one is certain.
        """
        best = max(self._finite)
        total = best + math.log(sum(math.exp(value - best) for value in self._finite))
        return self._finite[self.gold] - total

    @property
    def _finite(self) -> list[float]:
        return [value for value in self.log_likelihoods if value is not None]


def write_items(path: Path, items: list[Item]) -> None:
    """Write items as JSON lines, one per item."""
    path.write_text("".join(json.dumps(asdict(item)) + "\n" for item in items), encoding="utf-8")


def read_items(path: Path) -> list[Item]:
    """Invert `write_items`."""
    return [item_of(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def item_of(row: dict[str, Any]) -> Item:
    """Return the item that JSON holds."""
    return Item(**row | {"log_likelihoods": tuple(row["log_likelihoods"])})
