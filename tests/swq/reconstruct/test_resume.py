"""A killed reconstruction goes on where it stopped, and ends with the bits of an uninterrupted one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from lightning.fabric import Fabric
from torch import Tensor

from swq.models.adapter import DecoderModel
from swq.reconstruct.resume import BlockRecord, ResumeFolder
from swq.reconstruct.runner import reconstruct
from tests.support.recipes import SAMPLES, SpyNormals, assert_same_records, hybrid_recipe

Walk = Callable[[ResumeFolder | None, SpyNormals], list[BlockRecord]]


@pytest.fixture
def walk(fabric: Fabric, tiny_llama: DecoderModel, calibration: Tensor) -> Walk:
    """Reconstructs the tiny model from start to end."""
    return lambda resume, normals: list(
        reconstruct(fabric, tiny_llama, hybrid_recipe(), calibration[:SAMPLES], resume, normals)
    )


def test_killed_run_goes_on_with_the_same_bits(
    fabric: Fabric, tiny_llama: DecoderModel, calibration: Tensor, walk: Walk, tmp_path: Path
) -> None:
    """The second block's input comes from the stored first block; nothing of the first is trained again."""
    killed = reconstruct(fabric, tiny_llama, hybrid_recipe(), calibration[:SAMPLES], ResumeFolder(tmp_path, "run"))
    next(killed)
    killed.close()
    rest = SpyNormals()
    resumed = walk(ResumeFolder(tmp_path, "run"), rest)
    assert rest.blocks() == {1}
    assert_same_records(resumed, walk(None, SpyNormals()))


def test_finished_run_is_read_back_without_training(walk: Walk, tmp_path: Path) -> None:
    finished = walk(ResumeFolder(tmp_path, "run"), SpyNormals())
    again = SpyNormals()
    assert_same_records(walk(ResumeFolder(tmp_path, "run"), again), finished)
    assert again.keys == []


@pytest.mark.parametrize("left", [0.0, 0.01, 0.5, 0.999])
@pytest.mark.parametrize("block", [0, 1])
def test_damaged_block_is_done_again(walk: Walk, tmp_path: Path, left: float, block: int) -> None:
    """A file cut off anywhere, as a crash of the machine leaves it, is no result and no error."""
    finished = walk(ResumeFolder(tmp_path, "run"), SpyNormals())
    path = sorted((tmp_path / "run").iterdir())[block]
    path.write_bytes(path.read_bytes()[: int(left * path.stat().st_size)])
    again = SpyNormals()
    assert_same_records(walk(ResumeFolder(tmp_path, "run"), again), finished)
    assert again.blocks() == {block}


def test_blocks_of_another_setting_are_not_taken_up(walk: Walk, tmp_path: Path) -> None:
    walk(ResumeFolder(tmp_path, "one"), SpyNormals())
    other = SpyNormals()
    walk(ResumeFolder(tmp_path, "other"), other)
    assert other.blocks() == {0, 1}


def test_removed_folder_forgets_its_blocks_only(walk: Walk, tmp_path: Path) -> None:
    one, other = ResumeFolder(tmp_path, "one"), ResumeFolder(tmp_path, "other")
    walk(one, SpyNormals())
    walk(other, SpyNormals())
    one.remove()
    one.remove()  # the second time there is nothing left, which is no error
    assert one.load(0) is None
    assert other.load(0) is not None


def test_folder_holds_finished_blocks_and_nothing_else(walk: Walk, tmp_path: Path) -> None:
    """A temporary file left behind would fill the disk, kill by kill."""
    walk(ResumeFolder(tmp_path, "run"), SpyNormals())
    assert [path.name for path in sorted((tmp_path / "run").iterdir())] == [
        "block_000.safetensors",
        "block_001.safetensors",
    ]
