"""Codes, scales and zero points in the files of another project: compressed-tensors, format `pack-quantized`.

For every quantized linear, by its path in the model, it holds
    <path>.weight_packed       (out, ceil(in * n / 32)) int32: each row's codes, a little-endian stream of n-bit numbers
    <path>.weight_scale        (out, n_groups) float32; float16 if the scales and the model's other tensors are
    <path>.weight_zero_point   (ceil(out * n / 32), n_groups) int32: each group's zero points, packed down the rows
    <path>.weight_shape        (2,) int64: out, in
and the model's config.json says so. Codes and zero points are those of the artefact: that project subtracts 2^(n-1)
from both when it reads them, and adds it when it writes them. It computes a weight in the dtype of its scale, so
float16 scales would round the weights of a model in another dtype.

Source: compressed-tensors 0.20.0, compressors/pack_quantized. Up to 0.17.1, 3-bit codes were packed ten to a word.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from swq.checkpoint import Artefact
from swq.errors import UserError
from swq.quant.packing import pack, unpack
from swq.quant.scheme import Scheme

WRITTEN_FOR = "0.20.0"  # of compressed-tensors; pyproject.toml and constraints.txt name the same
WORD = 32  # bits


def pack_rows(codes: Tensor, n_bits: int) -> Tensor:
    """Pack uint8 codes (rows, columns) into int32 words (rows, ceil(columns * n_bits / 32)), each row by itself."""
    rows, columns = codes.shape
    padded = nn.functional.pad(codes, (0, -columns % WORD))
    words = pack(padded, n_bits).view(torch.int32).reshape(rows, -1)
    return words[:, : -(-columns * n_bits // WORD)].contiguous()


def unpack_rows(words: Tensor, n_bits: int, columns: int) -> Tensor:
    """Invert `pack_rows`: return uint8 codes (rows, columns)."""
    rows, held = words.shape
    padded = nn.functional.pad(words, (0, -held % n_bits))
    whole = unpack(padded.reshape(-1).view(torch.uint8), n_bits, (rows, padded.shape[1] * WORD // n_bits))
    return whole[:, :columns]


def check_packable(artefact: Artefact) -> None:
    """Raise unless the format can hold the artefact.

    Raises:
        UserError: it cannot; says what can.
    """
    if artefact.has_adapters:
        raise UserError(
            "packed: the weights have adapters, which this format has no place for; export it unpacked, which writes"
            " them into the weights"
        )


def packed_tensors(artefact: Artefact, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the tensors that take the place of the quantized linears' weights, by name, on the CPU.

    Args:
        artefact: the quantized model.
        dtype: of the model's other tensors.
    """
    found: dict[str, Tensor] = {}
    for path, shape in artefact.shapes.items():
        weight = artefact.weight(path)
        n_bits = weight.scheme.n_bits
        zero_point = weight.zero_point.squeeze(-1)
        found[f"{path}.weight_packed"] = pack_rows(weight.codes, n_bits)
        exact = weight.scale.dtype if weight.scale.dtype == dtype else torch.float32
        found[f"{path}.weight_scale"] = weight.scale.squeeze(-1).to(exact).contiguous()
        found[f"{path}.weight_zero_point"] = pack_rows(zero_point.T, n_bits).T.contiguous()
        found[f"{path}.weight_shape"] = torch.tensor(shape, dtype=torch.int64)
    return found


def configuration(scheme: Scheme, not_quantized: Iterable[str]) -> dict[str, Any]:
    """Return `quantization_config` for config.json.

    Args:
        scheme: bits and group size.
        not_quantized: paths of the linears that keep their weights.
    """
    grouped = {"strategy": "group", "group_size": scheme.group_size} if scheme.group_size else {"strategy": "channel"}
    weights = {"num_bits": scheme.n_bits, "type": "int", "symmetric": False, "dynamic": False, **grouped}
    group = {"targets": ["Linear"], "weights": weights, "input_activations": None, "output_activations": None}
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "version": WRITTEN_FOR,
        # transformers has the weights computed while it loads them. Without this, only 0.17.1 of 0.15 to 0.20 opened
        # groups with zero points.
        "dequantize": True,
        "ignore": sorted(not_quantized),
        "config_groups": {"group_0": group},
    }
