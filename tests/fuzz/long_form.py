"""The short form of a fuzz, which is always the same, and the long one: SWQ_FUZZ_EXAMPLES=2000."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

LONG = int(os.environ.get("SWQ_FUZZ_EXAMPLES", "0"))
CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]


def fuzz(short: int, of: int | None = None) -> settings:
    """Return the settings of a test.

    Args:
        short: examples of the short form.
        of: so many have all tests together that share the long form's examples; by default each test has all of them.
    """
    examples = LONG if of is None else max(1, round(LONG * short / of))
    return settings(
        max_examples=examples if LONG else short,
        derandomize=not LONG,
        database=None,
        deadline=None,
        suppress_health_check=CHECKS,
    )
