"""The training of a block, bit for bit, against the same steps in a plain loop.

The loop copies its batches, reads every loss, measures no share of the gradient, and leaves SW's gradient to autograd.
"""

from __future__ import annotations

import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor
from torch.func import functional_call

from swq.checkpoint import pack_weight
from swq.losses import Loss, l2, mse
from swq.methods.awq import AWQ
from swq.methods.base import Method
from swq.methods.omniquant import OmniQuant
from swq.methods.quantizer import BlockContext, BlockResult
from swq.methods.rtn import RTN
from swq.methods.tesseraq import TesseraQ
from swq.models.adapter import DecoderModel
from swq.quant.scheme import Scheme
from swq.reconstruct.data import ActivationPaths
from swq.reconstruct.recipe import Recipe
from swq.reconstruct.runner import reconstruct
from swq.seeding import keyed_generator, keyed_normals

SEED, N_PROJECTIONS = 6, 16
HARD = {"thresholds": (0.6, 0.2, 0.0), "iterations": 12, "lr": 0.02, "scale_lr": 5e-3}


def plain_loop(model: DecoderModel, tokens: Tensor, method: Method, weights: dict[str, float]) -> BlockResult:
    """Train the first block."""
    paths = ActivationPaths(Fabric(accelerator="cpu", devices=1), model, tokens)
    quantizer = method.quantizer(
        BlockContext(
            block=model.blocks[0],
            linears=model.linears(0),
            scheme=Scheme(2, 32),
            scale_dtype=torch.float16,
            not_clipped=model.family.not_clipped,
            pairs=model.scale_pairs(0),
            moments=lambda names, group_size, n_tokens: paths.moments(0, names, group_size, n_tokens),
        )
    )
    generator, step = keyed_generator(SEED, "batches", 0), 0
    for round_index in range(quantizer.rounds):
        optimizer = quantizer.start_round(round_index)
        data = paths.block_data(0, quantizer.aug_loss(round_index))
        for indices in quantizer.batches(round_index, len(tokens), generator):
            output = functional_call(model.blocks[0], quantizer(), (data.hidden[indices],), paths.kwargs(0))
            output = output[0] if isinstance(output, tuple) else output
            parts = []
            for name, targets in (("target", data.fp_output), ("aug_target", data.aug_output)):
                if targets is not None:
                    normals = keyed_normals(SEED, ("sw", 0, step, name), (output.shape[-1], N_PROJECTIONS))
                    parts.append(plain_loss(targets[indices], output, normals, weights))
            loss = sum(parts[1:], parts[0])
            assert loss.isfinite()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
    return quantizer.finalize()


def plain_loss(fp_output: Tensor, output: Tensor, normals: Tensor, weights: dict[str, float]) -> Tensor:
    """In the order of the weights: autograd adds up gradients in the reverse order of what was computed."""
    terms = {"mse": mse, "l2": l2, "sw": lambda fp, quant: plain_distance(fp, quant, normals)}
    weighted = [weight * terms[name](fp_output, output) for name, weight in weights.items()]
    return torch.stack(weighted).sum() if len(weighted) > 1 else weighted[0]


def plain_distance(fp_output: Tensor, output: Tensor, normals: Tensor) -> Tensor:
    directions = normals / (normals.norm(dim=0, keepdim=True) + 1e-8)
    samples = (x.reshape(-1, x.shape[-1]) for x in (fp_output, output))
    fp_sorted, quant_sorted = ((x @ directions).sort(dim=0).values for x in samples)
    return (fp_sorted - quant_sorted).abs().mean()


@pytest.mark.parametrize("with_sw", [False, True], ids=["plain", "sw"])
@pytest.mark.parametrize(
    "method",
    [
        OmniQuant(epochs=5, lwc_lr=0.03),
        OmniQuant(epochs=2, lwc_lr=0.03, aug_loss=True),
        OmniQuant(epochs=2, lwc_lr=0.03, let=True),
        TesseraQ(**HARD, batch_size=1, start=RTN()),
        TesseraQ(**HARD, batch_size=2, start=AWQ()),
        TesseraQ(**HARD, batch_size=3, start=OmniQuant(epochs=1, lwc_lr=0.03)),
    ],
    ids=["omniquant", "aug-loss", "let", "tesseraq-rtn", "tesseraq-awq", "tesseraq-omniquant"],
)
def test_training_equals_a_plain_loop(
    fabric: Fabric, tiny_llama: DecoderModel, calibration: Tensor, method: Method, with_sw: bool
) -> None:
    torch.use_deterministic_algorithms(True)
    base = "l2" if isinstance(method, TesseraQ) else "mse"
    weights = {base: 0.9, "sw": 0.1} if with_sw else {base: 1.0}
    recipe = Recipe(method, Scheme(2, 32), Loss(weights, N_PROJECTIONS), SEED)
    made = next(reconstruct(fabric, tiny_llama, recipe, calibration))
    wanted = plain_loop(tiny_llama, calibration, method, weights)
    prefix = f"{tiny_llama.block_name(0)}."
    assert made.learned.keys() == {prefix + name for name in wanted.learned} != set()
    assert all(torch.equal(made.learned[prefix + name], value) for name, value in wanted.learned.items())
    for name, weight in wanted.weights.items():
        for part, tensor in pack_weight(f"{prefix}{name}", weight).items():
            assert torch.equal(made.packed[part], tensor)
