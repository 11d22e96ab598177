"""Weights on disk, read tensor by tensor into a model that has only shapes so far."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from swq.errors import UserError
from swq.models.folder import INDEX


class Weights(Protocol):
    """A model's tensors by their path in it."""

    def __contains__(self, path: str) -> bool: ...

    def tensor(self, path: str, device: torch.device) -> Tensor:
        """Return one tensor, read anew at every call, in whatever dtype it is stored in."""
        ...


class Checkpoint:
    """The safetensors of a transformers folder, one file or several with an index.

    Nothing is cached: memory holds only the tensors that the caller keeps.

    Args:
        folder: of a transformers model.
        base: the name under which the causal LM keeps its decoder. Some checkpoints were saved from the decoder alone,
            so their tensor names lack it.

    Raises:
        UserError: there are no safetensors, or a file is damaged.
    """

    def __init__(self, folder: Path | str, base: str) -> None:
        self.folder = Path(folder)
        self._base = f"{base}."
        self._files = self._index()

    def _index(self) -> dict[str, Path]:
        index = self.folder / INDEX
        try:
            if index.is_file():
                named = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
                return {name: self.folder / file for name, file in named.items()}
            files = sorted(self.folder.glob("*.safetensors"))
            if not files:
                raise UserError(f"model {str(self.folder)!r} holds no *.safetensors")
            found: dict[str, Path] = {}
            for file in files:
                with safe_open(file, framework="pt") as handle:
                    found |= dict.fromkeys(handle.keys(), file)
            return found
        except (SafetensorError, ValueError, KeyError, AttributeError) as error:
            raise UserError(f"the safetensors of model {str(self.folder)!r} are damaged: {error}") from error

    def _stored_name(self, path: str) -> str | None:
        return next((name for name in (path, path.removeprefix(self._base)) if name in self._files), None)

    def __contains__(self, path: str) -> bool:
        return self._stored_name(path) is not None

    def tensor(self, path: str, device: torch.device) -> Tensor:
        """Return one tensor.

        Raises:
            UserError: the checkpoint holds no tensor of this name, or its file is missing or damaged.
        """
        name = self._stored_name(path)
        if name is None:
            raise UserError(f"model {str(self.folder)!r}: its safetensors hold no {path}")
        try:
            with safe_open(self._files[name], framework="pt", device=str(device)) as handle:
                return handle.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise UserError(f"model {str(self.folder)!r}: {self._files[name].name} is damaged: {error}") from error


class InMemory:
    """The tensors of a model that was loaded whole."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self._tensors = tensors

    def __contains__(self, path: str) -> bool:
        return path in self._tensors

    def tensor(self, path: str, device: torch.device) -> Tensor:
        return self._tensors[path].to(device)


Paths = Callable[[str], bool]  # says whether a path inside a module is wanted


@torch.no_grad()
def fill(
    module: nn.Module,
    prefix: str,
    weights: Weights,
    dtype: torch.dtype,
    device: torch.device,
    wanted: Paths = lambda path: True,
) -> None:
    """Give the parameters of `module` that are still only shapes their values, on `device`; floating ones in `dtype`.

    Its buffers move there too.

    Args:
        module: a part of a model; parameters that have values already are left alone.
        prefix: its path in the model, empty or with a dot at its end.
        weights: where values come from.
        dtype: of floating tensors.
        device: where they go.
        wanted: which parameters; all by default.

    Raises:
        UserError: a tensor is missing or has another shape.
    """
    for name, parameter in list(module.named_parameters()):
        if parameter.is_meta and wanted(name):
            value = weights.tensor(prefix + name, device)
            if value.shape != parameter.shape:
                given, shape = tuple(value.shape), tuple(parameter.shape)
                raise UserError(f"{prefix}{name} has shape {given} in the checkpoint; its configuration says {shape}")
            _replace(module, name, value.to(device, dtype if value.is_floating_point() else None))
    for owner in module.modules():
        for name, buffer in owner.named_buffers(recurse=False):
            setattr(owner, name, buffer.to(device))


def empty(module: nn.Module, wanted: Paths = lambda path: True) -> None:
    """Undo `fill`: keep the shapes of the parameters, and free their values."""
    for name, parameter in list(module.named_parameters(remove_duplicate=False)):
        if wanted(name):
            _replace(module, name, parameter.to("meta"))


def n_bytes(module: nn.Module, dtype: torch.dtype) -> int:
    """Return the size of a module's parameters in `dtype`."""
    return sum(parameter.numel() for parameter in module.parameters()) * dtype.itemsize


def _replace(module: nn.Module, name: str, value: Tensor) -> None:
    path, _, leaf = name.rpartition(".")
    setattr(module.get_submodule(path), leaf, nn.Parameter(value, requires_grad=False))
