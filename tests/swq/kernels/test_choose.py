"""Compiled kernels are used where they can be built and give the same bits, and nowhere else."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch._subclasses import FakeTensorMode

from swq.kernels import choose, native
from tests.swq.kernels.conftest import NO_COMPILER

CPU = torch.device("cpu")
needs_compiler = pytest.mark.skipif(NO_COMPILER, reason="no gcc")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "swq"


def use() -> str:
    return choose.use(choose.AUTO, CPU)


@needs_compiler
def test_they_are_compiled_once(own_cache: Path) -> None:
    assert use() == choose.COMPILED
    (made,) = own_cache.iterdir()
    written = made.stat().st_mtime_ns
    assert use() == choose.COMPILED and [p.stat().st_mtime_ns for p in own_cache.iterdir()] == [written]
    assert choose.use(choose.PLAIN, CPU) == choose.PLAIN and native.library() is None


@needs_compiler
@pytest.mark.parametrize(
    ("formula", "other"),
    [
        ("code - ratio * as_float", "code + ratio * as_float"),
        ("grad_weight[i] = grad[i] *", "grad_weight[i] = 2 * grad[i] *"),
        (
            "rintf(weight[i] / q.scale), q.low, q.high) * q.scale",
            "rintf(weight[i] * (1 / q.scale)), q.low, q.high) * q.scale",
        ),
        ("fmaf(-y, y, y) * width", "(y - y * y) * width"),
        ("product[i - g * size] = grad[i] * code;", "product[i - g * size] = grad[i] * above_zero;"),
        ("0.0f, 1.0f) + floor[i], low, high) * s", "0.0f, 1.0f) + floor[i], low, high) * s + 1e-7f"),
    ],
)
def test_a_kernel_with_other_bits_is_not_used(
    formula: str, other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a processor, or with a PyTorch, that rounds otherwise."""
    text = native.SOURCE.read_text()
    assert len(re.findall(re.escape(formula), text)) == 1
    changed = tmp_path / "changed.c"
    changed.write_text(text.replace(formula, other))
    monkeypatch.setattr(native, "SOURCE", changed)
    assert native.build() is not None
    assert use() == choose.PLAIN and native.library() is None


def test_without_a_compiler_the_plain_formulas_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert use() == choose.PLAIN and native.library() is None


def test_a_compiler_that_fails_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / native.COMPILER
    compiler.write_text("#!/bin/sh\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert use() == choose.PLAIN


@needs_compiler
def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert use() == choose.PLAIN


@needs_compiler
def test_a_damaged_file_in_the_cache_is_no_error(own_cache: Path) -> None:
    """In another process, because this one may have loaded it already."""
    assert use() == choose.COMPILED
    (made,) = own_cache.iterdir()
    made.unlink()
    made.write_bytes(b"damaged")
    code = "import torch; from swq.kernels import choose; print(choose.use('auto', torch.device('cpu')))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "plain\n"


def test_they_are_not_used_on_other_tensors() -> None:
    weight = torch.zeros(2, 8)
    assert native.fits(weight) and native.fits(weight, torch.zeros(2, 1))
    assert not native.fits(torch.zeros(2, 7)) and not native.fits(torch.zeros(2, 8192))
    for tensor in (torch.zeros(8, 2).T, weight.bfloat16(), torch.zeros(2, 8, device="meta")):
        assert not native.fits(weight, tensor)


def test_they_are_not_used_on_tensors_without_memory() -> None:
    with FakeTensorMode():
        assert not native.fits(torch.zeros(2, 8))


@pytest.mark.parametrize("size", [8, 13, 40, 64, 128, 511, 512, 600, 1536, 4096, 8191])
def test_sums_over_a_group_have_the_bits_of_pytorch(size: int) -> None:
    library = native.build()
    assert library is not None
    native.use(None)
    plain = choose._outcomes((50, 1, size))
    native.use(library)
    for expected, found in zip(plain, choose._outcomes((50, 1, size)), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
