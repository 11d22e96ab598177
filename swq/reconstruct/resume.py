"""A finished block, and how it is kept so that a killed reconstruction continues behind it."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from swq.pieces import Pieces

TENSORS = ("packed", "changed", "learned")  # of a record
FACTS = ("shapes", "trace", "seconds", "retried")


@dataclass(frozen=True)
class BlockRecord:
    """One finished block.

    Attributes:
        shapes: (out, in) of each quantized linear by its path in the model.
        packed: its packed tensors, and the biases that its linears got.
        changed: those of its other tensors that differ from the model's, by their path in the model.
        learned: the trained tensors, by name.
        trace: per step of training, the loss and each weighted term: {"loss": ..., "mse": ..., "sw": ...}; in the
            first step of the last epoch also each term's share of the gradient norms, "mse_grad_share" and so on.
        seconds: that it took when it was made.
        retried: why it was trained a second time at a lower learning rate; None if it was not.
        resumed: whether it was read back and not made.
    """

    shapes: dict[str, tuple[int, ...]]
    packed: dict[str, Tensor]
    changed: dict[str, Tensor] = field(default_factory=dict)
    learned: dict[str, Tensor] = field(default_factory=dict)
    trace: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    retried: str | None = None
    resumed: bool = False


def save_block(pieces: Pieces, index: int, record: BlockRecord) -> None:
    """Keep block `index`."""
    tensors = {f"{part}/{name}": tensor for part in TENSORS for name, tensor in getattr(record, part).items()}
    pieces.save(_name(index), tensors, {fact: getattr(record, fact) for fact in FACTS})


def load_block(pieces: Pieces, index: int) -> BlockRecord | None:
    """Return block `index`, or None if it was not finished."""
    found = pieces.load(_name(index))
    if found is None:
        return None
    tensors, facts = found
    parts: dict[str, dict[str, Tensor]] = {part: {} for part in TENSORS}
    for key, tensor in tensors.items():
        part, _, name = key.partition("/")
        parts[part][name] = tensor
    return BlockRecord(
        shapes={name: tuple(shape) for name, shape in facts["shapes"].items()},
        trace=facts["trace"],
        seconds=facts["seconds"],
        retried=facts["retried"],
        resumed=True,
        **parts,
    )


def _name(index: int) -> str:
    return f"block_{index:03d}"
