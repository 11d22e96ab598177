"""Model families: where the blocks of a decoder-only model are and which of their weights are quantized."""

from __future__ import annotations

from swq.models.family import Family
from swq.models.gemma import GEMMA
from swq.models.llama import LLAMA
from swq.models.opt import OPT
from swq.models.phi3 import PHI3
from swq.plugins import FAMILIES as GROUP
from swq.plugins import added

# A new family is a small file of data and a line here, or an entry point of another package.
FAMILIES: tuple[Family, ...] = (LLAMA, OPT, PHI3, GEMMA)


def families() -> tuple[Family, ...]:
    """Return every family: those above, then those that installed packages add.

    Raises:
        UserError: one of these cannot be imported, or is no Family.
    """
    return (*FAMILIES, *added(GROUP, Family, ()).values())


def family_of(model_type: str) -> Family | None:
    """Return the family that lists a transformers `model_type`, or None."""
    return next((family for family in families() if model_type in family.model_types), None)
