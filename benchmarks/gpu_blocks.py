"""Whole blocks of LLaMA-2-7B's shapes on a GPU: where calibration samples lie, and what a block takes besides training.

    python benchmarks/gpu_blocks.py                                       # on a GPU, two minutes
    python benchmarks/gpu_blocks.py --device cpu --hidden 128 --tokens 64 # tries the script

Two random blocks are reconstructed with the samples on the card, then with the samples in host memory, from where a
thread prepares each step's. Both must give the same bits.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from bench.config.sections import Runtime
from bench.runtime import start_fabric
from swq.losses import Loss
from swq.methods.awq import AWQ
from swq.methods.base import Method
from swq.methods.omniquant import OmniQuant
from swq.methods.tesseraq import TesseraQ
from swq.models.adapter import DecoderModel
from swq.quant.scheme import Scheme
from swq.reconstruct import data, runner
from swq.reconstruct.recipe import Recipe
from swq.reconstruct.resume import BlockRecord

ON_CARD, ON_HOST = 0.5, 0.0  # share of the card's free memory that samples may take
CASES: dict[str, tuple[Method, dict[str, float], int]] = {
    "OmniQuant + SW": (OmniQuant(epochs=2), {"mse": 0.9, "sw": 0.1}, 128),
    "TesseraQ + SW": (TesseraQ(thresholds=(0.75, 0.5), iterations=40, start=AWQ()), {"l2": 0.9, "sw": 0.1}, 64),
}


class Timed:
    """Takes the time of training alone, by standing in for the runner's call."""

    def __init__(self, device: torch.device) -> None:
        self.seconds, self.steps, self._device, self._train = 0.0, 0, device, runner.train_block

    def __call__(self, *arguments: Any) -> list[dict[str, float]]:
        began = self._now()
        trace = self._train(*arguments)
        self.seconds, self.steps = self.seconds + self._now() - began, self.steps + len(trace)
        return trace

    def _now(self) -> float:
        if self._device.type != "cpu":
            torch.accelerator.synchronize()
        return time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="gpu", choices=["gpu", "cpu"])
    parser.add_argument("--precision", default="16-mixed")
    parser.add_argument("--hidden", type=int, default=4096)
    parser.add_argument("--tokens", type=int, default=2048)
    given = parser.parse_args()
    precision = "bf16-mixed" if given.device == "cpu" else given.precision
    fabric = start_fabric(Runtime(device=given.device, threads=2), precision)
    model = _model(given.hidden, given.tokens)
    for name, (method, weights, samples) in CASES.items():
        ids = torch.randint(0, 64, (samples, given.tokens), generator=torch.Generator().manual_seed(1))
        recipe = Recipe(method, Scheme(2, 128), Loss(weights), scale_dtype="float16")
        found = []
        for room in (ON_CARD, ON_HOST):
            data.ROOM, runner.train_block = room, (timed := Timed(fabric.device))  # type: ignore[assignment]
            began = time.perf_counter()
            found.append(list(runner.reconstruct(fabric, model, recipe, ids, progress=False)))
            rest = time.perf_counter() - began - timed.seconds
            runner.train_block = timed._train
            print(
                f"{name}, {samples} x {given.tokens}, {precision}, {'on the card' if room else 'on the host'}:"
                f" {1e3 * timed.seconds / timed.steps:.1f} ms a step, moving samples to the card included;"
                f" {timed.seconds:.1f} s of training and {rest:.1f} s besides",
                flush=True,
            )
        print(f"{name}: {'the same bits' if _same(*found) else 'OTHER BITS'}", flush=True)


def _model(hidden: int, tokens: int) -> DecoderModel:
    config = AutoConfig.for_model(
        "llama",
        vocab_size=64,
        hidden_size=hidden,
        intermediate_size=11008 * hidden // 4096 // 128 * 128,
        num_hidden_layers=2,
        num_attention_heads=max(1, hidden // 128),
        num_key_value_heads=max(1, hidden // 128),
        max_position_embeddings=tokens,
    )
    torch.manual_seed(0)
    return DecoderModel(AutoModelForCausalLM.from_config(config))


def _same(first: list[BlockRecord], second: list[BlockRecord]) -> bool:
    return all(
        one.trace == other.trace and all(torch.equal(one.packed[key], other.packed[key]) for key in one.packed)
        for one, other in zip(first, second, strict=True)
    )


if __name__ == "__main__":
    main()
