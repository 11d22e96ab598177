"""Bit packing: the bytes on disk are a little-endian bit stream, in the order of the codes."""

from __future__ import annotations

import pytest
import torch

from swq.quant.packing import pack, unpack
from swq.quant.scheme import SUPPORTED_BITS


@pytest.mark.parametrize("n_bits", SUPPORTED_BITS)
@pytest.mark.parametrize("shape", [(0,), (1,), (3,), (5, 7), (8, 8), (13, 3, 1), (64, 33)])
def test_codes_survive_and_take_no_more_bytes_than_needed(n_bits: int, shape: tuple[int, ...]) -> None:
    codes = torch.randint(2**n_bits, shape, generator=torch.Generator().manual_seed(n_bits)).to(torch.uint8)
    packed = pack(codes, n_bits)
    assert packed.dtype == torch.uint8
    assert packed.shape == ((codes.numel() * n_bits + 7) // 8,)
    assert torch.equal(unpack(packed, n_bits, shape), codes)


@pytest.mark.parametrize(
    ("n_bits", "codes", "packed"),
    [
        (2, [0, 1, 2, 3], [0b11_10_01_00]),
        (2, [3, 0, 0, 0, 1], [0b00000011, 0b00000001]),
        (3, [1, 2, 3, 4, 5, 6, 7, 0], [0b11_010_001, 0b0_101_100_0, 0b000_111_11]),
        (3, [7, 7, 7], [0xFF, 0x01]),
        (4, [0xA, 0x5, 0xF], [0x5A, 0x0F]),
        (8, [0, 128, 255], [0, 128, 255]),
    ],
)
def test_bytes_written_by_hand(n_bits: int, codes: list[int], packed: list[int]) -> None:
    """A round trip alone would pass with any order of bits; files must stay readable by others."""
    assert pack(torch.tensor(codes, dtype=torch.uint8), n_bits).tolist() == packed
    assert unpack(torch.tensor(packed, dtype=torch.uint8), n_bits, (len(codes),)).tolist() == codes


@pytest.mark.parametrize("n_bits", SUPPORTED_BITS)
def test_stream_is_one_large_little_endian_number(n_bits: int) -> None:
    codes = torch.randint(2**n_bits, (101,), generator=torch.Generator().manual_seed(9)).to(torch.uint8)
    number = sum(code << (n_bits * position) for position, code in enumerate(codes.tolist()))
    assert bytes(pack(codes, n_bits).tolist()) == number.to_bytes((101 * n_bits + 7) // 8, "little")


@pytest.mark.parametrize(("n_bits", "code"), [(2, 4), (3, 8), (4, 200)])
def test_code_too_large_is_refused(n_bits: int, code: int) -> None:
    """Its upper bits would spill into the next code."""
    with pytest.raises(ValueError, match=f"code {code} does not fit into {n_bits} bits"):
        pack(torch.tensor([1, code, 0], dtype=torch.uint8), n_bits)


@pytest.mark.parametrize("n_bytes", [3, 5])
def test_wrong_number_of_bytes_is_refused(n_bytes: int) -> None:
    with pytest.raises(ValueError, match=f"{n_bytes} bytes do not hold 9 codes of 3 bits"):
        unpack(torch.zeros(n_bytes, dtype=torch.uint8), 3, (3, 3))
