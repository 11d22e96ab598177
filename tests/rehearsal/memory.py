"""Bytes that tensors hold, counted as they come and go. Fake tensors count as if they had values."""

from __future__ import annotations

import weakref
from typing import Any

from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Peak(TorchDispatchMode):
    """Counts the storages of whatever operations return inside it, and of tensors that it is told of.

    Attributes:
        bytes: now alive.
        peak: the most that were alive at a time.
        attention: the attention kernels that ran.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.peak = 0
        self.attention: set[str] = set()
        self._known: weakref.WeakSet[UntypedStorage] = weakref.WeakSet()

    def note(self, tensor: Tensor) -> None:
        """Count a tensor's storage from here on."""
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        self._known.add(storage)
        size = storage.nbytes()
        self.bytes += size
        self.peak = max(self.peak, self.bytes)
        weakref.finalize(storage, self._freed, size)

    def _freed(self, size: int) -> None:
        self.bytes -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if "attention" in name:
            self.attention.add(name)
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self.note(leaf)
        return out
