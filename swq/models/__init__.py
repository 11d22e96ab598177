"""Model families: where the blocks of a decoder-only model are and which of their weights are quantized."""

from __future__ import annotations

from swq.models.family import Family
from swq.models.llama import LLAMA
from swq.models.opt import OPT
from swq.models.phi3 import PHI3

# A new family is a small file of data and a line here.
FAMILIES: tuple[Family, ...] = (LLAMA, OPT, PHI3)


def family_of(model_type: str) -> Family | None:
    """Return the family that lists a transformers `model_type`, or None."""
    return next((family for family in FAMILIES if model_type in family.model_types), None)
