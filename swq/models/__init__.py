"""Model families: where the blocks of a decoder-only model are and which of their weights are quantized."""

from __future__ import annotations

from swq.errors import UserError, one_of
from swq.models.family import Family
from swq.models.llama import LLAMA
from swq.models.opt import OPT

# A new family is a small file of data and a line here.
FAMILIES: tuple[Family, ...] = (LLAMA, OPT)


def family_of(model_type: str) -> Family:
    """Return the family of a transformers `model_type`.

    Raises:
        UserError: no family lists it.
    """
    for family in FAMILIES:
        if model_type in family.model_types:
            return family
    raise UserError(one_of("model_type", model_type, (t for f in FAMILIES for t in f.model_types)))
