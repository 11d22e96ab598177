"""Finished pieces of a long computation on disk, so that a killed one continues where it stopped."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from swq.errors import UserError
from swq.tensor_file import read_tensors, write_tensors

SUFFIX = ".safetensors"
OF, FACTS = "of", "facts"  # keys of a piece's header: its folder and name, and what it says

Piece = tuple[dict[str, Tensor], dict[str, Any]]  # tensors by name, and a JSON header


class Pieces:
    """A folder of finished pieces, one file each.

    A damaged file counts as a piece that is not finished, and so does one from another folder or of another name.

    Args:
        folder: belongs to one computation, with all its settings; pieces of another one would be taken for its own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, name: str, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
        """Keep a piece; it is on the disk when this returns."""
        write_tensors(self._path(name), tensors, {OF: self._of(name), FACTS: header})

    def load(self, name: str) -> Piece | None:
        """Return a piece, or None if it is not finished."""
        if not self._path(name).is_file():
            return None
        try:
            tensors, header = read_tensors(self._path(name))
            if header.get(OF) != self._of(name):
                raise UserError(f"{self._path(name)} is not the piece that was kept under this name")
            return tensors, header[FACTS]
        except UserError as error:
            warnings.warn(f"{error}; it is made again", stacklevel=2)
            return None

    def names(self) -> list[str]:
        """Return the names of the files that are there, damaged ones included."""
        return sorted(path.name.removesuffix(SUFFIX) for path in self.folder.glob(f"*{SUFFIX}"))

    def _of(self, name: str) -> list[str]:
        return [self.folder.name, name]

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{SUFFIX}"
