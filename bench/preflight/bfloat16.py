"""Whether this machine's CPU multiplies bfloat16 numbers itself. Where it does not, torch emulates that."""

from __future__ import annotations

from collections.abc import Mapping

import torch

INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")  # of x86 and of ARM; one of them is enough


def missing_instructions(capabilities: Mapping[str, bool | int | str] | None = None) -> list[str]:
    """Return the instructions for bfloat16 products that a CPU lacks; none if it has one kind of them, or if torch does
    not know.

    Args:
        capabilities: of a CPU, as `torch.cpu.get_capabilities` gives them; by default of this one.
    """
    if capabilities is None:
        capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # torch has had it since 2026
    known = [name for name in INSTRUCTIONS if name in capabilities]  # torch lists those of its own architecture only
    return [] if any(capabilities[name] for name in known) else known
