"""Tensors and a JSON header in one safetensors file that notices when it is damaged.

The file is byte-identical for identical content. Its header holds the SHA-256 of everything else in it, so that a
flipped bit is an error and never a number.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from swq.errors import UserError
from swq.files import atomic_path

HEADER, DIGEST = "header", "sha256"  # keys of the one metadata entry


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write tensors and a JSON header to a safetensors file, atomically."""
    stored = {name: tensor.contiguous() for name, tensor in tensors.items()}
    entry = {HEADER: header, DIGEST: _digest(stored, header)}
    with atomic_path(path) as temporary:
        # One metadata key: safetensors writes several in no fixed order.
        save_file(stored, temporary, metadata={"swq": json.dumps(entry, sort_keys=True)})


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Invert `write_tensors`.

    Raises:
        UserError: the file is missing, damaged or not a file of this project.
    """
    tensors, header = open_tensors(path)
    return dict(tensors), header


def open_tensors(path: Path) -> tuple[Mapping[str, Tensor], dict[str, Any]]:
    """Return a file's tensors, each read on access, and its JSON header. The whole file is checked once, now.

    Raises:
        UserError: as `read_tensors`.
    """
    if not path.is_file():
        raise UserError(f"there is no {path}")
    try:
        with safe_open(path, framework="pt") as handle:
            entry = json.loads((handle.metadata() or {})["swq"])
            tensors = OnDisk(path, {name: name for name in handle.keys()})  # noqa: SIM118 (it is no mapping)
        header, digest = dict(entry[HEADER]), entry[DIGEST]
        if digest != _digest(tensors, header):
            raise ValueError("its bytes are not those that were written")
        return tensors, header
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged, or was not written by this version of swq ({error})") from error


@dataclass(frozen=True, eq=False)
class OnDisk(Mapping[str, Tensor]):
    """Tensors of a safetensors file, each read on access, under other names than in the file.

    Attributes:
        path: the file.
        names: the name in the file of each tensor.
    """

    path: Path
    names: dict[str, str]

    def __getitem__(self, name: str) -> Tensor:
        with safe_open(self.path, framework="pt") as handle:
            return handle.get_tensor(self.names[name])

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def _digest(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> str:
    """Return the SHA-256 of names, dtypes, shapes, values and the header; one tensor is in memory at a time."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].cpu()
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        if tensor.numel():
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
