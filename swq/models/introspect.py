"""A family derived from a model's own modules, for models that no family describes."""

from __future__ import annotations

import re

from torch import nn

from swq.errors import UserError
from swq.models.family import Family

QUERY_OR_KEY = re.compile(r"query|key|qkv|(^|_)[qk](_|$)|^c_attn$", re.IGNORECASE)
EXPERTS = "experts"
HOW_TO = "describe it in a file of swq/models/ (llama.py is an example) and list that in swq/models/__init__.py"


def introspect(model: nn.Module, model_type: str) -> Family:
    """Return what the modules tell: where the blocks are and which linears they hold, but no scale pairs.

    Raises:
        UserError: there is no list of blocks, blocks differ from each other, or a block holds weights outside linears,
            which no method would quantize.
    """
    stacks = {name: module for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    stacks = {name: stack for name, stack in stacks.items() if len(stack) and all(map(linear_names, stack))}
    if not stacks:
        raise UserError(f"model_type {model_type!r}: no list of blocks with linears was found; {HOW_TO}")
    path, blocks = max(stacks.items(), key=lambda item: sum(p.numel() for p in item[1].parameters()))
    linears = linear_names(blocks[0])
    if any(linear_names(block) != linears for block in blocks):
        raise UserError(f"model_type {model_type!r}: the blocks in {path} are not all alike; {HOW_TO}")
    weights = {f"{name}.weight" for name in linears}
    for name, parameter in blocks[0].named_parameters():
        if parameter.ndim > 1 and name not in weights:
            raise UserError(f"model_type {model_type!r}: {path}.0.{name} does not belong to a Linear; {HOW_TO}")
    not_clipped = tuple(name for name in linears if QUERY_OR_KEY.search(name.rpartition(".")[2]))
    return Family((model_type,), path, linears, not_clipped=not_clipped)


def require_no_experts(model: nn.Module, model_type: str) -> None:
    """Raise if blocks of the model hold experts, of which a router picks a few for each token.

    transformers names every list of experts so. A configuration does not tell: dense models may count experts there.

    Raises:
        UserError: says where they are, and why they cannot be quantized.
    """
    found = next((name for name, _ in model.named_modules() if name.rpartition(".")[2] == EXPERTS), None)
    if found is not None:
        raise UserError(
            f"model_type {model_type!r} has experts ({found}), and models with experts are not supported: their weights"
            " are not Linear modules that every token passes, and calibration would know each expert only by the few"
            " tokens that are routed to it"
        )


def linear_names(block: nn.Module) -> tuple[str, ...]:
    """Return the paths of the linears inside a block."""
    return tuple(name for name, module in block.named_modules() if isinstance(module, nn.Linear))
