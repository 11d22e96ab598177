"""Speed of one training step, as ratios measured in one run: `python benchmarks/step.py`.

On a random LLaMA block (default: SmolLM2-135M's shapes) it prints
  - fake quantization, forward and backward: ours against the same formula under autograd;
  - a whole OmniQuant step: with the SW loss against without;
  - a whole TesseraQ step of two samples, likewise.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from lightning.fabric import Fabric
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from swq.losses import Loss
from swq.methods.base import Method
from swq.methods.omniquant import OmniQuant
from swq.methods.quantizer import BlockContext
from swq.methods.rtn import RTN
from swq.methods.tesseraq import TesseraQ
from swq.models.adapter import DecoderModel
from swq.quant.affine import choose_scale, choose_zero_point, fake_quantize, weight_range
from swq.quant.scheme import Scheme
from swq.reconstruct.data import ActivationPaths
from swq.reconstruct.module import BlockReconstruction
from swq.seeding import keyed_normals


def autograd_fake_quantize(grouped: Tensor, wmin: Tensor, wmax: Tensor, n_bits: int) -> Tensor:
    """The formula of `fake_quantize`, with its gradient left to autograd."""
    scale = choose_scale(wmin, wmax, n_bits)
    zero_point = choose_zero_point(wmin, scale, n_bits)
    ratio = grouped / scale
    codes = (ratio + (ratio.round() - ratio).detach() + zero_point).clamp(0, 2**n_bits - 1)
    return (codes - zero_point) * scale


def compare(first: Callable[[], None], second: Callable[[], None], fabric: Fabric, repeats: int) -> tuple[float, float]:
    """Return the median milliseconds of both, measured in turns, so that a slow minute affects both."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats + 2):
        for run, taken in zip((first, second), times, strict=True):
            started = time.perf_counter()
            run()
            if fabric.device.type != "cpu":
                torch.accelerator.synchronize()
            taken.append(1e3 * (time.perf_counter() - started))
    return tuple(sorted(taken[2:])[repeats // 2] for taken in times)  # type: ignore[return-value]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=int, default=576)
    parser.add_argument("--intermediate", type=int, default=1536)
    parser.add_argument("--heads", type=int, default=9)
    parser.add_argument("--kv-heads", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--scheme", default="w3a16g64")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=21)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    fabric, scheme = Fabric(devices=1), Scheme.parse(options.scheme)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=options.hidden,
        intermediate_size=options.intermediate,
        num_hidden_layers=1,
        num_attention_heads=options.heads,
        num_key_value_heads=options.kv_heads,
    )
    model = DecoderModel(LlamaForCausalLM(config))
    paths = ActivationPaths(fabric, model, torch.randint(0, 64, (2, options.tokens)))
    data = paths.block_data(0, with_aug=False)

    def quantize_with(function: Callable[[Tensor, Tensor, Tensor, int], Tensor]) -> Callable[[], None]:
        weights = [scheme.group(linear.weight.detach()) for linear in model.linears(0).values()]
        ranges = [tuple(end.requires_grad_() for end in weight_range(weight)) for weight in weights]

        def run() -> None:
            for weight, (low, high) in zip(weights, ranges, strict=True):
                function(weight, low, high, scheme.n_bits).backward(weight)

        return run

    def step_with(method: Method, samples: list[int], loss: Loss) -> Callable[[], None]:
        context = BlockContext(
            block=model.blocks[0],
            linears=model.linears(0),
            scheme=scheme,
            scale_dtype=torch.float16,
            not_clipped=model.family.not_clipped,
            pairs=model.scale_pairs(0),
            moments=lambda names, group_size, n_tokens: paths.moments(0, names, group_size, n_tokens),
        )
        quantizer = method.quantizer(context)
        module = BlockReconstruction(
            0, model.blocks[0], paths.kwargs(0), quantizer, loss, lambda key, shape: keyed_normals(0, key, shape)
        )
        wrapped, optimizer = fabric.setup_module(module), fabric.setup_optimizers(quantizer.start_round(0))

        batch = data.batch(fabric, samples)

        def run() -> None:
            value = wrapped.training_step(batch, 0)["loss"]
            optimizer.zero_grad()  # type: ignore[union-attr]
            fabric.backward(value)
            optimizer.step()  # type: ignore[union-attr]

        return run

    print(f"{fabric.device}, {options.threads} threads, hidden {options.hidden}, {options.tokens} tokens, {scheme}")
    first, second = compare(
        quantize_with(autograd_fake_quantize), quantize_with(fake_quantize), fabric, options.repeats
    )
    print(f"fake quantization: autograd {first:.1f} ms, ours {second:.1f} ms, ratio {first / second:.2f}")
    for name, method, samples, base in (
        ("OmniQuant", OmniQuant(), [0], "mse"),
        ("TesseraQ", TesseraQ(start=RTN()), [0, 1], "l2"),
    ):
        losses = (Loss({base: 1.0}), Loss({base: 0.9, "sw": 0.1}))
        plain, with_sw = (step_with(method, samples, loss) for loss in losses)
        first, second = compare(plain, with_sw, fabric, options.repeats)
        ratio = f"ratio {second / first:.2f}"
        print(f"{name} step, batch {len(samples)}: {base} {first:.1f} ms, {base} + sw {second:.1f} ms, {ratio}")


if __name__ == "__main__":
    main()
