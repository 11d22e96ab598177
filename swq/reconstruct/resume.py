"""Finished blocks on disk, so that a killed walk goes on where it stopped."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from swq.checkpoint import read_tensors, write_tensors
from swq.errors import UserError


@dataclass(frozen=True)
class BlockRecord:
    """One finished block.

    Attributes:
        shapes: (out, in) of each quantized linear by its path in the model.
        packed: its packed tensors.
        learned: what was trained, by name.
        trace: per step of training, the loss and each weighted term: {"loss": ..., "mse": ..., "sw": ...}.
    """

    shapes: dict[str, tuple[int, ...]]
    packed: dict[str, Tensor]
    learned: dict[str, Tensor] = field(default_factory=dict)
    trace: list[dict[str, float]] = field(default_factory=list)


class ResumeFolder:
    """A folder that holds the finished blocks of one reconstruction.

    Its name is a fingerprint of everything that decides the result, so blocks of another setting are never taken up.
    """

    def __init__(self, root: Path, fingerprint: str) -> None:
        self.folder = root / fingerprint

    def save(self, index: int, record: BlockRecord) -> None:
        tensors = {f"packed/{k}": v for k, v in record.packed.items()}
        tensors |= {f"learned/{k}": v for k, v in record.learned.items()}
        write_tensors(self._path(index), tensors, {"shapes": record.shapes, "trace": record.trace})

    def load(self, index: int) -> BlockRecord | None:
        """Return block `index`, or None if it was not finished. A damaged file counts as not finished."""
        if not self._path(index).is_file():
            return None
        try:
            tensors, header = read_tensors(self._path(index))
            return BlockRecord(
                shapes={name: tuple(shape) for name, shape in header["shapes"].items()},
                packed={k.removeprefix("packed/"): v for k, v in tensors.items() if k.startswith("packed/")},
                learned={k.removeprefix("learned/"): v for k, v in tensors.items() if k.startswith("learned/")},
                trace=header["trace"],
            )
        except (UserError, KeyError, AttributeError, TypeError):
            return None

    def remove(self) -> None:
        """Forget every block: the result is stored elsewhere by now."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, index: int) -> Path:
        return self.folder / f"block_{index:03d}.safetensors"
