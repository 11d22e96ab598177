"""What a training step needs at the paper's real shapes, counted in the step itself, beside what `estimate` says.

Tensors are fake, so the block of a 13B model takes no memory. They are on the CPU, where autocast runs. The device's
own memory is what the step allocates; the samples of the other steps lie on the host.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import pytest
import torch
import yaml
from lightning.fabric import Fabric
from torch.utils.flop_counter import FlopCounterMode

from bench.config.cell import Cell
from bench.config.sections import Calibration
from bench.preflight import shapes as preflight
from bench.preflight.bytes import CONTEXT, reconstruct_device_bytes
from bench.preflight.recorded import SHAPES as SHAPES_FILE
from bench.preflight.recorded import RecordedModel
from bench.preflight.seconds import forward_flops
from bench.preflight.workload import work_of
from bench.speed.subject import Shapes
from swq.reconstruct.data import ActivationPaths, BlockData
from swq.reconstruct.module import BlockReconstruction
from swq.reconstruct.runner import _Walk
from swq.reconstruct.shares import backward_with_shares
from tests.rehearsal.memory import Peak
from tests.rehearsal.pretend import pretending
from tests.support.repository import ROOT

TOKENS = 2048
GB = 1e9
SHAPES = {
    "7b": Shapes(4096, 11008, 32, 32),
    "13b": Shapes(5120, 13824, 40, 40),
    "opt-6.7b": Shapes(4096, 16384, 32, 32, "opt"),
    "gemma-2-9b": Shapes(3584, 14336, 16, 8, "gemma2"),  # its heads are a little wider
}
REPOS = {
    "7b": "meta-llama/Llama-2-7b-hf",
    "13b": "meta-llama/Llama-2-13b-hf",
    "opt-6.7b": "facebook/opt-6.7b",
    "gemma-2-9b": "google/gemma-2-9b",
}
OMNIQUANT, TESSERAQ, APIQ = {"name": "omniquant"}, {"name": "tesseraq"}, {"name": "apiq"}
METHODS: dict[str, dict[str, Any]] = {
    "omniquant": {"method": OMNIQUANT | {"aug_loss": True}, "loss": {"weights": {"mse": 0.9, "sw": 0.1}}},
    "omniquant with LET": {"method": OMNIQUANT | {"let": True}, "loss": {"weights": {"mse": 1.0}}},
    "omniquant with LET and SW": {"method": OMNIQUANT | {"let": True}, "loss": {"weights": {"mse": 0.9, "sw": 0.1}}},
    "apiq": {"method": APIQ | {"aug_loss": True}, "loss": {"weights": {"mse": 1.0}}},
    "apiq with saliency": {"method": APIQ | {"saliency_weight": 0.1}, "loss": {"weights": {"mse": 0.9, "sw": 0.1}}},
    "tesseraq": {"method": TESSERAQ | {"start": {"name": "rtn"}}, "loss": {"weights": {"l2": 0.9, "sw": 0.1}}},
}
MOST = {(method, size): 24 * GB for method in ("omniquant", "tesseraq", "apiq") for size in SHAPES}  # of a smaller card
MOST |= {("omniquant", "7b"): 8 * GB, ("apiq", "7b"): 8 * GB, ("tesseraq", "7b"): 13 * GB}
# Attention's kernels on a CPU, whose FLOPs torch counts on GPUs only: two products forward, five backward.
FLASH = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
FLASH_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def attention_flops(query: Any, key: Any, *_: Any, **__: Any) -> int:
    return 4 * math.prod(query) * int(key[-2])


def attention_gradient_flops(_: Any, query: Any, key: Any, *__: Any, **___: Any) -> int:
    return 10 * math.prod(query) * int(key[-2])


FLOPS = {FLASH: attention_flops, FLASH_BACKWARD: attention_gradient_flops}


def recorded_shapes(size: str) -> preflight.Shapes:
    """Return what `estimate` knows of the model."""
    return RecordedModel.model_validate(yaml.safe_load((ROOT / SHAPES_FILE).read_text())[REPOS[size]]).shapes()


def cell_of(method: str, precision: str) -> Cell:
    fixed = {"model": "m", "calibration": "c", "scheme": "w2a16g128", "precision": precision}
    return Cell.model_validate(fixed | METHODS[method])


@cache
def counted(method: str, size: str, precision: str) -> tuple[int, int, frozenset[str]]:
    """Return the peak bytes, the FLOPs of a step, and the attention kernels of two steps of training."""
    cell = cell_of(method, precision)
    # Half precision is bfloat16 on a CPU: as many bytes.
    fabric = Fabric(accelerator="cpu", devices=1, precision="32-true" if precision == "32-true" else "bf16-mixed")
    samples = getattr(cell.method, "batch_size", 1)
    with pytest.MonkeyPatch.context() as patch, pretending(patch, autocast=True):
        patch.setattr(torch.Tensor, "item", lambda _: 1.0)  # shares are numbers; a fake tensor has none
        model = SHAPES[size].model(TOKENS)
        paths = ActivationPaths(fabric, model, torch.randint(0, 64, (samples, TOKENS)))
        salient = {name: torch.rand_like(linear.weight) for name, linear in model.linears(0).items()}
        found = [salient] if cell.method.gradient_samples else ()
        drawn = lambda _, shape: torch.randn(shape)  # noqa: E731
        walk = _Walk(fabric, model, cell.recipe, paths, drawn, lambda: None, found)
        hosts = [torch.randn(samples, TOKENS, SHAPES[size].hidden) for _ in range(3)]
        flops = FlopCounterMode(display=False, custom_mapping=FLOPS)
        with Peak() as memory:
            for parameter in model.blocks[0].parameters():
                memory.note(parameter)
            quantizer = cell.method.quantizer(walk._context(0))
            hidden, target, second = (tensor.clone() for tensor in hosts)
            data = BlockData(hidden, target, second if quantizer.aug_loss(0) else None)
            del hidden, target, second
            assert cell.loss is not None
            normals = lambda _, shape: torch.randn(shape)  # noqa: E731
            module = BlockReconstruction(0, model.blocks[0], paths.kwargs(0), quantizer, cell.loss, normals)
            wrapped: Any = fabric.setup_module(module)
            optimizer: Any = fabric.setup_optimizers(quantizer.start_round(0))
            for counting in (False, True):
                with flops if counting else torch.enable_grad():
                    with fabric.autocast():
                        values = wrapped.training_step(data, 0)
                    optimizer.zero_grad()
                    if len(values) > 2 and not counting:  # once per block; the FLOPs are those of all other steps
                        backward_with_shares(fabric, values, optimizer)
                    else:
                        fabric.backward(values["loss"])
                    optimizer.step()
    return memory.peak, flops.get_total_flops(), frozenset(memory.attention)


CASES = [
    (method, size, precision)
    for method in METHODS
    for size in SHAPES
    for precision in ("32-true", "16-mixed")
    if size != "13b" or " " not in method
]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "size", "precision"), CASES)
def test_estimate_is_within_a_tenth_of_what_is_counted(method: str, size: str, precision: str) -> None:
    peak, _, attention = counted(method, size, precision)
    cell, shapes = cell_of(method, precision), recorded_shapes(size)
    work = work_of(cell, Calibration(model="m", corpus="c", n_samples=128, seq_len=TOKENS, seed=0))
    assert reconstruct_device_bytes(shapes, work) - CONTEXT == pytest.approx(peak, rel=0.1)
    assert peak <= MOST[method.partition(" ")[0], size]
    flash = {"_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention_for_cpu_backward"}
    assert attention == (set() if shapes.eager else flash), "other kernels may keep T x T scores"


@pytest.mark.slow
@pytest.mark.parametrize("size", SHAPES)
@pytest.mark.parametrize(("method", "samples"), [("omniquant", 1), ("tesseraq", 2)])
def test_flops_are_within_a_tenth_of_what_is_counted(method: str, samples: int, size: str) -> None:
    _, flops, _ = counted(method, size, "16-mixed")
    assert 3 * forward_flops(recorded_shapes(size), samples * TOKENS, TOKENS) == pytest.approx(flops, rel=0.1)
