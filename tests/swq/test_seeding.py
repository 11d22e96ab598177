"""Keyed generators: a draw is decided by its name, never by what was drawn before."""

from __future__ import annotations

import pytest
import torch

from swq.seeding import keyed_generator, keyed_normals

KEY = ("sw", 3, 14, "target")


def test_draw_depends_on_its_key_only() -> None:
    """Neither the global seed nor earlier draws may change it: a resumed run has other earlier draws."""
    torch.manual_seed(0)
    first = keyed_normals(7, KEY, (64, 32))
    torch.manual_seed(1)
    keyed_normals(7, ("sw", 3, 13, "target"), (10, 10))
    assert torch.equal(keyed_normals(7, KEY, (64, 32)), first)


def test_draw_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    keyed_normals(7, KEY, (64, 32))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("seed", "key"),
    [
        (8, KEY),
        (7, ("sw", 4, 14, "target")),
        (7, ("sw", 3, 15, "target")),
        (7, ("sw", 31, 4, "target")),  # 3, 14 and 31, 4 are the same digits
        (7, ("sw", 3, 14, "aug_target")),
        (7, ("batches", 3, 14, "target")),
    ],
)
def test_every_part_of_the_key_matters(seed: int, key: tuple[int | str, ...]) -> None:
    """Two independent draws correlate weakly; equal or shifted streams would not."""
    first, second = keyed_normals(7, KEY, (64, 32)).flatten(), keyed_normals(seed, key, (64, 32)).flatten()
    assert torch.stack([first, second]).corrcoef()[0, 1].abs() < 0.1


def test_normals_are_standard_float32_on_the_cpu() -> None:
    normals = keyed_normals(7, KEY, (256, 128))
    assert (normals.dtype, normals.device.type, normals.shape) == (torch.float32, "cpu", (256, 128))
    assert normals.mean().abs() < 0.02 and (normals.std() - 1).abs() < 0.02


def test_stream_is_the_same_in_every_process_and_version() -> None:
    """The head of the SHA-256 of "(2, 'batches', 0)": another derivation would change every committed result."""
    assert keyed_generator(2, "batches", 0).initial_seed() == 582329640835017641
