"""The precision of the Fabric holds in every forward through a block: on the two paths, and in training."""

from __future__ import annotations

import pytest
import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins import MixedPrecision
from torch import Tensor

from swq.models.adapter import DecoderModel
from swq.reconstruct.runner import reconstruct
from swq.reconstruct.train import _fresh_scaler
from tests.recipes import SAMPLES, hybrid_recipe


def test_every_block_begins_with_the_same_gradient_scale() -> None:
    """Else a block would depend on overflows in those before it, and a resumed run would differ."""
    precision = MixedPrecision("16-mixed", "cuda", torch.amp.GradScaler("cpu"))
    fabric = Fabric(accelerator="cpu", devices=1, plugins=[precision])
    assert precision.scaler is not None
    initial = precision.scaler.state_dict()
    precision.scaler.load_state_dict(initial | {"scale": 2.0, "_growth_tracker": 7})
    _fresh_scaler(fabric)
    assert precision.scaler.state_dict() == initial
    _fresh_scaler(Fabric(accelerator="cpu", devices=1))  # full precision has none


@pytest.mark.parametrize(
    ("precision", "autocast"),
    [
        ("32-true", False),
        ("bf16-mixed", True),
    ],
)
def test_training_and_both_paths_run_in_the_recipes_precision(
    tiny_llama: DecoderModel, calibration: Tensor, precision: str, autocast: bool
) -> None:
    """A target from autocast and an output without it would be compared as if quantization made the difference."""
    seen: dict[str, set[bool]] = {"training": set(), "paths": set()}

    def note(*_: object) -> None:
        seen["training" if torch.is_grad_enabled() else "paths"].add(torch.is_autocast_enabled("cpu"))

    # Not the first block, which first_inputs runs once for its own purpose, and not the block, which it calls empty.
    tiny_llama.blocks[1].get_submodule("mlp").register_forward_pre_hook(note)
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
    list(reconstruct(fabric, tiny_llama, hybrid_recipe(), calibration[:SAMPLES]))
    assert seen == {"training": {autocast}, "paths": {autocast}}
