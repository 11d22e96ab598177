"""A killed reconstruction goes on where it stopped, and ends with the bits of an uninterrupted one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from lightning.fabric import Fabric
from torch import Tensor

from swq.models.adapter import DecoderModel
from swq.pieces import Pieces
from swq.reconstruct.resume import BlockRecord
from swq.reconstruct.runner import reconstruct
from tests.support.recipes import SAMPLES, SpyNormals, assert_same_records, hybrid_recipe

Walk = Callable[[Pieces | None, SpyNormals], list[BlockRecord]]


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
    killed = reconstruct(fabric, tiny_llama, hybrid_recipe(), calibration[:SAMPLES], Pieces(tmp_path / "run"))
    next(killed)
    killed.close()
    rest = SpyNormals()
    resumed = walk(Pieces(tmp_path / "run"), rest)
    assert rest.blocks() == {1}
    assert_same_records(resumed, walk(None, SpyNormals()))


def test_finished_run_is_read_back_without_training(walk: Walk, tmp_path: Path) -> None:
    finished = walk(Pieces(tmp_path / "run"), SpyNormals())
    again = SpyNormals()
    assert_same_records(walk(Pieces(tmp_path / "run"), again), finished)
    assert again.keys == []


def test_block_behind_the_last_missing_one_is_not_run_again(
    tiny_llama: DecoderModel, walk: Walk, tmp_path: Path
) -> None:
    """Nothing reads what flows out of it: a finished reconstruction is read back without a model that computes."""
    finished = walk(Pieces(tmp_path / "run"), SpyNormals())
    (tmp_path / "run/block_000.safetensors").unlink()
    run: list[int] = []
    for index, block in enumerate(tiny_llama.blocks):
        block.register_forward_hook(lambda *_, index=index: run.append(index))
    assert_same_records(walk(Pieces(tmp_path / "run"), SpyNormals()), finished)
    assert run.count(1) == SAMPLES < run.count(0), "each block is called once a sample to note its arguments"
    run.clear()
    assert_same_records(walk(Pieces(tmp_path / "run"), SpyNormals()), finished)
    assert run == []


def test_time_and_retries_of_a_block_are_kept_with_it(walk: Walk, tmp_path: Path) -> None:
    """A resumed cell must not look faster than it was."""
    finished = walk(Pieces(tmp_path / "run"), SpyNormals())
    again = walk(Pieces(tmp_path / "run"), SpyNormals())
    assert all(record.seconds > 0 for record in finished)
    assert [record.seconds for record in again] == [record.seconds for record in finished]
    assert [record.resumed for record in (*finished, *again)] == [False, False, True, True]


@pytest.mark.parametrize("left", [0.0, 0.01, 0.5, 0.999])
@pytest.mark.parametrize("block", [0, 1])
def test_truncated_block_is_done_again(walk: Walk, tmp_path: Path, left: float, block: int) -> None:
    """A file cut off anywhere, as a crash of the machine leaves it, is no result and no error."""
    finished = walk(Pieces(tmp_path / "run"), SpyNormals())
    path = sorted((tmp_path / "run").iterdir())[block]
    path.write_bytes(path.read_bytes()[: int(left * path.stat().st_size)])
    again = SpyNormals()
    assert_same_records(walk(Pieces(tmp_path / "run"), again), finished)
    assert again.blocks() == {block}


@pytest.mark.parametrize("place", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_block_with_a_flipped_bit_is_done_again(walk: Walk, tmp_path: Path, place: float) -> None:
    """Its structure is intact wherever the bit lies in a tensor; only the checksum knows."""
    finished = walk(Pieces(tmp_path / "run"), SpyNormals())
    path = tmp_path / "run/block_001.safetensors"
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)
    again = SpyNormals()
    assert_same_records(walk(Pieces(tmp_path / "run"), again), finished)
    assert again.blocks() == {1}


def test_block_full_of_zeros_behind_its_header_is_done_again(walk: Walk, tmp_path: Path) -> None:
    """What a power loss leaves of a file that was never brought to the disk."""
    finished = walk(Pieces(tmp_path / "run"), SpyNormals())
    path = tmp_path / "run/block_000.safetensors"
    content = path.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    path.write_bytes(content[:header] + bytes(len(content) - header))
    again = SpyNormals()
    assert_same_records(walk(Pieces(tmp_path / "run"), again), finished)
    assert again.blocks() == {0}


def test_folder_holds_finished_blocks_and_nothing_else(walk: Walk, tmp_path: Path) -> None:
    """A temporary file left behind would fill the disk, kill by kill."""
    walk(Pieces(tmp_path / "run"), SpyNormals())
    assert [path.name for path in sorted((tmp_path / "run").iterdir())] == [
        "block_000.safetensors",
        "block_001.safetensors",
    ]
