"""GPTQ's rounding of one weight.

The mean squared change of an output, for a change d of a row of the weight, is d^T H d, with H the second moments of
the input. Columns are rounded one after the other. Once column j is rounded with error e, the change of the columns
after it that makes up for e best is -e U[j, j+1:] / U[j, j], where U is the upper triangle of H^-1 = U^T U.

Source: Frantar et al., GPTQ (arXiv 2210.17323), eq. 4 and algorithm 1.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from swq.errors import UserError
from swq.quant.affine import (
    QuantizedWeight,
    choose_scale,
    choose_zero_point,
    dequantize,
    quantize,
    stored_scale,
    weight_range,
)
from swq.quant.scheme import Scheme

BATCH = 128  # columns whose errors reach the columns after them in one product


@torch.no_grad()
def solve(
    weight: Tensor, second: Tensor, scheme: Scheme, scale_dtype: torch.dtype, percdamp: float, act_order: bool
) -> QuantizedWeight:
    """Round `weight` (out, in) so that its output changes little.

    A group's range is that of its weights when its first column is reached, with all errors before it made up for. With
    `act_order` it is that of the weights as they were given.

    Args:
        weight: (out, in).
        second: second moments H of its input, (in, in).
        scheme: bits and group size.
        scale_dtype: the dtype that scales are stored in; codes follow from the stored scale.
        percdamp: what is added to the diagonal of H, as a share of its mean.
        act_order: round the columns with the largest inputs first.

    Raises:
        UserError: H has no inverse, or a scale does not fit its dtype.
    """
    width = scheme.group_width(weight.shape[1])
    order = second.diagonal().argsort(descending=True, stable=True) if act_order else None
    scale, zero_point = _grid(scheme.group(weight.float()), scheme, scale_dtype)
    rows = weight.float().T.contiguous()  # a column of the weight is a row here, which lies in one piece
    if order is not None:
        rows, second = rows[order], second[order][:, order]
    groups = [column // width for column in (range(len(rows)) if order is None else order.tolist())]
    upper = inverse_factor(second, percdamp).to(rows.dtype)
    codes = torch.empty_like(rows)
    for start, end in _batches(len(rows), width):
        errors = torch.empty_like(rows[start:end])
        for column in range(start, end):
            group = groups[column]
            if order is None and column % width == 0:
                now = rows[column : column + width].T.unsqueeze(1)  # (out, 1, width)
                scale[:, [group]], zero_point[:, [group]] = _grid(now, scheme, scale_dtype)
            grid = scale[:, group, 0].float(), zero_point[:, group, 0]
            codes[column] = quantize(rows[column], *grid, scheme.n_bits)
            error = (rows[column] - dequantize(codes[column], *grid)) / upper[column, column]
            rows[column + 1 : end] -= torch.outer(upper[column, column + 1 : end], error)
            errors[column - start] = error
        rows[end:] -= upper[start:end, end:].T @ errors
    if order is not None:
        codes = codes[order.argsort()]
    return QuantizedWeight(codes.T.contiguous().to(torch.uint8), scale, zero_point.to(torch.uint8), scheme)


def inverse_factor(second: Tensor, percdamp: float) -> Tensor:
    """Return the upper triangle U, float64, of (H + percdamp mean(diag H) I)^-1 = U^T U.

    An input channel that is always 0 gets a 1 on the diagonal. Its column is then rounded to nearest: no error of its
    own or of others moves.

    Args:
        second: H, (in, in).
        percdamp: at least 0.

    Raises:
        UserError: H is not positive definite, or not finite.
    """
    # With its channels in reverse, H = L L^T; turned back, H = R R^T with R an upper triangle, and U = R^-1.
    damped = second.flip(0, 1).double()
    diagonal = damped.diagonal()
    diagonal += torch.where(diagonal == 0, 1.0, percdamp * diagonal.mean())
    try:
        lower = torch.linalg.cholesky(damped)
    except torch.linalg.LinAlgError:
        lower = damped * torch.nan
    if not torch.isfinite(lower).all():
        raise UserError(
            f"gptq: the second moments of a linear's {len(second)} input channels cannot be inverted with percdamp"
            f" {percdamp:g}: give a larger percdamp or more calibration tokens"
        )
    identity = torch.eye(len(second), dtype=damped.dtype, device=damped.device)
    return torch.linalg.solve_triangular(lower.flip(0, 1), identity, upper=True)


def _batches(columns: int, width: int) -> Iterator[tuple[int, int]]:
    """Yield batches of columns. One ends where a group does, so that the next group's weights are up to date."""
    for group in range(0, columns, width):
        for start in range(group, group + width, BATCH):
            yield start, min(start + BATCH, group + width)


def _grid(grouped: Tensor, scheme: Scheme, scale_dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return each group's scale as it is stored, and its zero point, both (out, n_groups, 1)."""
    low, high = weight_range(grouped)
    scale = stored_scale(choose_scale(low, high, scheme.n_bits), scale_dtype)
    return scale, choose_zero_point(low, scale.float(), scheme.n_bits)
