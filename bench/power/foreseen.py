"""What a suite's page says of the rows that were not run: what they could decide."""

from __future__ import annotations

from collections.abc import Collection

from bench.config.params import Params
from bench.power.page import parts
from bench.power.plan import Wanted, bound_of, plan
from bench.render.pages import Part
from swq.errors import UserError


def foreseen(params: Params, keys: Collection[str]) -> list[Part]:
    """Return what `python -m bench power` says of these cells; nothing if none of them is to be compared."""
    try:
        return parts(plan(params, list(keys), Wanted(bound=bound_of(params))))
    except UserError:
        return []
