"""The precision of the Fabric holds in every forward through a block: on the two paths, and in training."""

from __future__ import annotations

import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor

from swq.models.adapter import DecoderModel
from swq.reconstruct.runner import reconstruct
from tests.recipes import SAMPLES, hybrid_recipe


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

    for block in tiny_llama.blocks:
        block.get_submodule("mlp").register_forward_pre_hook(note)  # not the block: first_inputs calls it, empty
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
    list(reconstruct(fabric, tiny_llama, hybrid_recipe(), calibration[:SAMPLES]))
    assert seen == {"training": {autocast}, "paths": {autocast}}
