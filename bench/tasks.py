"""The tasks that can be scored: lm-eval's own definitions, pointed at local files."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """One of lm-eval's tasks.

    Attributes:
        definition: lm-eval's YAML file, relative to its folder of tasks.
        split: the split it is scored on.
    """

    definition: str
    split: str


TASKS: dict[str, Task] = {
    "winogrande": Task("winogrande/default.yaml", "validation"),
    "hellaswag": Task("hellaswag/hellaswag.yaml", "validation"),
    "arc_challenge": Task("arc/arc_challenge.yaml", "test"),
    "arc_easy": Task("arc/arc_easy.yaml", "test"),
    "piqa": Task("piqa/piqa.yaml", "validation"),
    "boolq": Task("super_glue/boolq/default.yaml", "validation"),
}
