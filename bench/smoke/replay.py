"""The recorded runs of the paper authors' code (tests/reference), replayed on a device."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from safetensors.torch import load_file
from torch import Tensor

from swq.checkpoint import unpack_weight
from swq.errors import UserError
from swq.losses import Loss
from swq.methods.base import Method
from swq.methods.omniquant import OmniQuant
from swq.methods.quantizer import BlockContext, BlockQuantizer
from swq.methods.tesseraq import TesseraQ
from swq.methods.tesseraq.block import TesseraQBlock
from swq.models.adapter import DecoderModel
from swq.quant.scheme import Scheme
from swq.reconstruct.recipe import Recipe
from swq.reconstruct.runner import reconstruct

REFERENCE = Path("tests/reference")
MODEL = REFERENCE / "models" / "tiny-llama"
SCHEME = Scheme(2, 32)
OMNIQUANT = ("omniq_mse", "omniq_sw", "omniq_mse_aug", "omniq_mse_sw_hilr")
TESSERAQ = ("tesseraq_l2", "tesseraq_l2_sw")
WEIGHTS = {
    "mse": {"mse": 1.0},
    "sliced_wasserstein": {"sw": 1.0},
    "mse_sw": {"mse": 0.9, "sw": 0.1},
    "l2": {"l2": 1.0},
    "l2_sw": {"l2": 0.9, "sw": 0.1},
}
LOSSES = 1e-4  # the largest relative difference that another device's rounding explains

Normals = Callable[[tuple[int | str, ...], tuple[int, ...]], Tensor]


@dataclass(frozen=True)
class Replayed:
    """A recorded run beside ours.

    Attributes:
        run: its name.
        steps: of training.
        difference: the largest relative difference of a step's loss.
        codes: of all weights.
        other_codes: those that are not the recorded ones.
    """

    run: str
    steps: int
    difference: float
    codes: int
    other_codes: int

    @property
    def passed(self) -> bool:
        return self.difference <= LOSSES


@dataclass(frozen=True)
class _RecordedBatches(TesseraQ):
    """TesseraQ that sees the recorded batches (steps, batch size), block after block."""

    indices: Any = None
    blocks: list[int] = field(default_factory=list)

    def quantizer(self, block: BlockContext) -> BlockQuantizer:
        made = _RecordedBlock(self, self.start.quantizer(block))
        steps = self.iterations * len(self.thresholds)
        made.indices = self.indices[steps * len(self.blocks) :]
        self.blocks.append(len(self.blocks))
        return made


class _RecordedBlock(TesseraQBlock):
    indices: Tensor

    def batches(self, round_index: int, n_samples: int, generator: torch.Generator) -> Iterator[list[int]]:
        start = round_index * self.settings.iterations
        yield from self.indices[start : start + self.settings.iterations].tolist()


def replay_all(fabric: Fabric) -> list[Replayed]:
    """Replay every recorded run in float32.

    Raises:
        UserError: the recordings are not here.
    """
    if not MODEL.is_dir():
        raise UserError(f"there is no {MODEL} here; run from the repository's top folder")
    meta = json.loads((REFERENCE / "meta.json").read_text(encoding="utf-8"))
    return [_replay(fabric, name, meta[name]) for name in (*OMNIQUANT, *TESSERAQ)]


def _replay(fabric: Fabric, name: str, meta: dict[str, Any]) -> Replayed:
    recorded, special = load_file(REFERENCE / f"{name}.safetensors"), meta["config"]["quant"]["special"]
    method, normals = (_omniquant if name in OMNIQUANT else _tesseraq)(special, recorded)
    loss = Loss(WEIGHTS[special.get("loss_method")], special["loss_kwargs"]["sw_num_projections"])
    calibration = load_file(REFERENCE / "calib.safetensors")["calib_ids"]
    recipe = Recipe(method, SCHEME, loss, scale_dtype="float32")
    records = list(reconstruct(fabric, DecoderModel.load(MODEL), recipe, calibration, normals=normals, progress=False))
    ours = torch.tensor([step["loss"] for record in records for step in record.trace], dtype=torch.float64)
    theirs = torch.tensor([loss for _, loss, _ in meta["steps"]], dtype=torch.float64)
    codes = other = 0
    for record in records:
        for path, shape in record.shapes.items():
            wanted = recorded[f"final.{path.replace('model.layers.', 'block')}.codes"].to(torch.uint8)
            found = unpack_weight(path, record.packed, shape, SCHEME).codes
            codes, other = codes + wanted.numel(), other + int((found.cpu() != wanted).sum())
    return Replayed(name, len(theirs), ((ours - theirs).abs() / theirs.abs()).max().item(), codes, other)


def _omniquant(special: dict[str, Any], _: dict[str, Tensor]) -> tuple[Method, Normals]:
    """The recording drew its normals one after another from one seed."""
    generator = torch.Generator().manual_seed(2)
    method = OmniQuant(special["epochs"], special["lwc_lr"], special["wd"], special["aug_loss"])
    return method, lambda key, shape: torch.randn(shape, generator=generator)


def _tesseraq(special: dict[str, Any], recorded: dict[str, Tensor]) -> tuple[Method, Normals]:
    method = _RecordedBatches(
        thresholds=tuple(special["thresholds"]),
        iterations=special["iterations"],
        batch_size=special["batch_size"],
        lr=special["lr"],
        scale_lr=special["scale_lr"],
        indices=recorded["tq_indices"],
    )
    steps = method.iterations * len(method.thresholds)

    def normals(key: tuple[int | str, ...], shape: tuple[int, ...]) -> Tensor:
        block, step, _ = key
        assert isinstance(block, int) and isinstance(step, int)
        # Each block's first and last draw were spent on an evaluation before and after training.
        return recorded["sw_randn"][block * (steps + 2) + 1 + step]

    return method, normals
