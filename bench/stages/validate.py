"""validate: nothing runs with a params.yaml that holds a name or a value that is not allowed."""

from __future__ import annotations

from bench.config.params import PARAMS, Params
from bench.store.paths import VALIDATED
from swq.files import write_text


def validate(params: Params) -> str:
    """Make data/validated.txt, which every other stage depends on. Its content never changes, so it re-runs none."""
    write_text(VALIDATED, f"{PARAMS} is valid\n")
    return f"{PARAMS} is valid: suite {params.suite}"
