"""Finished blocks on disk, so that a killed reconstruction continues where it stopped."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from swq.checkpoint import read_tensors, write_tensors
from swq.errors import UserError

PARTS = ("packed", "changed", "learned")  # the tensors of a record


@dataclass(frozen=True)
class BlockRecord:
    """One finished block.

    Attributes:
        shapes: (out, in) of each quantized linear by its path in the model.
        packed: its packed tensors.
        changed: those of its other tensors that differ from the model's, by their path in the model.
        learned: the trained tensors, by name.
        trace: per step of training, the loss and each weighted term: {"loss": ..., "mse": ..., "sw": ...}; in the
            first step of an epoch also each term's share of the gradient norms, "mse_grad_share" and so on.
    """

    shapes: dict[str, tuple[int, ...]]
    packed: dict[str, Tensor]
    changed: dict[str, Tensor] = field(default_factory=dict)
    learned: dict[str, Tensor] = field(default_factory=dict)
    trace: list[dict[str, float]] = field(default_factory=list)


class ResumeFolder:
    """A folder that holds the finished blocks of one reconstruction.

    Its name is a fingerprint of everything that decides the result, so blocks made with other settings are never used.
    """

    def __init__(self, root: Path, fingerprint: str) -> None:
        self.folder = root / fingerprint

    def save(self, index: int, record: BlockRecord) -> None:
        tensors = {f"{part}/{name}": tensor for part in PARTS for name, tensor in getattr(record, part).items()}
        write_tensors(self._path(index), tensors, {"shapes": record.shapes, "trace": record.trace})

    def load(self, index: int) -> BlockRecord | None:
        """Return block `index`, or None if it was not finished. A damaged file counts as not finished."""
        if not self._path(index).is_file():
            return None
        try:
            tensors, header = read_tensors(self._path(index))
            parts: dict[str, dict[str, Tensor]] = {part: {} for part in PARTS}
            for key, tensor in tensors.items():
                part, _, name = key.partition("/")
                parts[part][name] = tensor
            shapes = {name: tuple(shape) for name, shape in header["shapes"].items()}
            return BlockRecord(shapes, trace=header["trace"], **parts)
        except (UserError, KeyError, AttributeError, TypeError):
            return None

    def remove(self) -> None:
        """Delete every block. Called once the result is stored elsewhere."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, index: int) -> Path:
        return self.folder / f"block_{index:03d}.safetensors"
