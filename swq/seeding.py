"""Keyed random generators: every draw has a name, so no draw depends on what was drawn before it."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def keyed_generator(seed: int, *key: int | str) -> torch.Generator:
    """Return a CPU generator determined by `seed` and `key` alone.

    The device a block runs on, a resume point, or another method's draws cannot change the stream.
    """
    digest = hashlib.sha256(repr((seed, *key)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def keyed_normals(seed: int, key: tuple[int | str, ...], shape: tuple[int, ...]) -> Tensor:
    """Return standard normals, float32 on the CPU, of `shape`, drawn from the generator of `seed` and `key`."""
    return torch.randn(shape, generator=keyed_generator(seed, *key))
