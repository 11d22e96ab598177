"""The sliced-Wasserstein distance by its own gradient and its own sort: bit for bit that of the plain formula."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from swq.sliced_wasserstein import sliced_wasserstein, sorted_values, sorted_with_order

WAYS_TO_TIE: dict[str, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "none": lambda fp, quant: (fp, quant),
    "outputs equal": lambda fp, _: (fp, fp),
    "every other token equal": lambda fp, quant: (
        fp,
        torch.where(torch.arange(fp.shape[1])[:, None] % 2 == 0, fp, quant),
    ),
    "samples equal": lambda fp, quant: (fp[:1].expand_as(fp), quant[:1].expand_as(quant)),
    "tokens equal": lambda fp, quant: (fp, quant[:, :1].expand_as(quant)),
    "target zero": lambda fp, quant: (0 * fp, quant.sign()),
}


def plain(fp_output: Tensor, quant_output: Tensor, normals: Tensor, block_size: int) -> Tensor:
    """The formula, with its gradient left to autograd and its order to torch."""
    dim = fp_output.shape[-1] * block_size
    with torch.autocast("cpu", enabled=False):
        directions = normals / (normals.norm(dim=0, keepdim=True) + 1e-8)
        fp_sorted = (fp_output.float().reshape(-1, dim) @ directions).sort(dim=0).values
        quant_sorted = (quant_output.float().reshape(-1, dim) @ directions).sort(dim=0).values
        return (fp_sorted - quant_sorted).abs().mean()


@pytest.fixture(params=[1, 2], ids=["1 thread", "2 threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(1)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("tie", WAYS_TO_TIE)
@pytest.mark.parametrize(
    ("shape", "block_size", "n_projections"),
    [((2, 12, 8), 1, 16), ((2, 12, 8), 3, 16), ((2, 160, 96), 1, 128), ((2, 37, 24), 2, 5), ((1, 1, 8), 1, 3)],
)
def test_value_and_gradient_are_the_plain_formulas(
    shape: tuple[int, int, int], block_size: int, n_projections: int, tie: str, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(8)
    fp, noise = torch.randn((2, *shape), generator=generator)
    outputs = [output.to(dtype) for output in WAYS_TO_TIE[tie](fp, fp + 0.1 * noise)]
    normals = torch.randn(shape[-1] * block_size, n_projections, generator=generator)
    found: list[tuple[Tensor, Tensor]] = []
    for distance in (plain, sliced_wasserstein):
        quant = outputs[1].clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype != torch.float32):
            value = distance(outputs[0], quant, normals, block_size)
        (0.1 * value).backward()
        assert quant.grad is not None and quant.grad.dtype == dtype
        found.append((value.detach(), quant.grad))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_gradient_is_in_float32_if_the_backward_pass_runs_under_autocast() -> None:
    generator = torch.Generator().manual_seed(9)
    fp, noise = torch.randn((2, 1, 40, 16), generator=generator)
    normals = torch.randn(16, 7, generator=generator)
    gradients = []
    for autocast in (False, True):
        quant = (fp + noise).requires_grad_()
        value = sliced_wasserstein(fp, quant, normals)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            value.backward()
        gradients.append(quant.grad)
    assert torch.equal(*gradients)  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [1, 2, 16, 17, 300])
def test_rows_are_sorted_as_torch_sorts_them(n: int) -> None:
    """Also where values are equal, whatever the signs of zeros are, and with infinities."""
    rows = 10 * torch.randn(12, n, generator=torch.Generator().manual_seed(n))
    rows[3:6].round_()
    rows[6:8] = 0.0
    rows[7, ::2] = -0.0
    rows[8, :: max(1, n // 5)] = torch.inf
    rows[9, :: max(1, n // 5)] = -torch.inf
    wanted = rows.sort()
    values, order = sorted_with_order(rows.clone())
    assert torch.equal(values, wanted.values) and torch.equal(order, wanted.indices)
    assert torch.equal(sorted_values(rows.clone()), wanted.values)


def test_nan_shows_in_the_value() -> None:
    fp, quant = torch.randn((2, 1, 20, 4), generator=torch.Generator().manual_seed(1))
    quant[0, 3, 2] = torch.nan
    assert sliced_wasserstein(fp, quant, torch.ones(4, 2)).isnan()
