"""How much the model's own loss depends on each weight: its squared gradients, block by block, from the last one back.

The mean over texts of the squared gradient of the language-model loss is the diagonal of the Fisher information. To
second order, changing a weight by d raises the loss by half of it times d^2.

Source: SqueezeLLM (arXiv 2306.07629), section 4.1, whose gradients the code of Cao and Aref (arXiv 2504.13932) takes.
"""

from __future__ import annotations

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from swq.models.adapter import DecoderModel, block_output
from swq.models.recording import BlockKwargs, recording


def squared_gradients(fabric: Fabric, model: DecoderModel, tokens: Tensor) -> list[dict[str, Tensor]]:
    """Return for every block the squared gradients of its linears' weights, on the CPU, by their path inside it.

    Each is (out, in) float32: the mean over samples of the squared gradient of their mean cross-entropy. One block at a
    time is on the device. Host memory holds the result, which is 4 bytes per weight, and every block's input.

    Args:
        fabric: owns the device. Products are in float32, because small gradients vanish in half precision.
        model: stays unchanged.
        tokens: (N, T) int64.
    """
    hidden, kwargs = model.first_inputs(tokens)
    on_device = [{name: fabric.to_device(value) for name, value in given.items()} for given in kwargs]
    inputs = [hidden]
    for index in range(len(model.blocks)):
        with model.filled(index, fabric.device) as block, torch.no_grad():
            outputs = [_run(block, {}, fabric.to_device(x), on_device[index]) for x in inputs[-1].split(1)]
            inputs.append(torch.cat(outputs).cpu())
    gradients = _of_the_last_output(fabric, model, tokens, inputs.pop())
    found: list[dict[str, Tensor]] = []
    for index in reversed(range(len(model.blocks))):
        with model.filled(index, fabric.device) as block:
            names = [f"{name}.weight" for name in model.linears(index)]
            squares, gradients = _through(fabric, block, names, inputs.pop(), gradients, on_device[index])
            found.append({name.removesuffix(".weight"): square for name, square in squares.items()})
    return found[::-1]


def _of_the_last_output(fabric: Fabric, model: DecoderModel, tokens: Tensor, hidden: Tensor) -> Tensor:
    """Return the gradient of each sample's loss in the last block's output (N, T, C), without running a block."""
    given: list[Tensor] = []

    def replace(_: nn.Module, __: object, output: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
        return given[-1] if isinstance(output, Tensor) else (given[-1], *output[1:])

    gradients = torch.empty_like(hidden)
    model.fill_rest(fabric.device)
    device = model.model.get_input_embeddings().weight.device  # a model that is held in memory stays on the CPU
    hook = model.blocks[-1].register_forward_hook(replace)
    try:
        with model.filled(0, device), recording(model.blocks):
            for place, sample, output in zip(gradients.split(1), tokens.split(1), hidden.split(1), strict=True):
                given.append(output.to(device).requires_grad_())
                sample = sample.to(device)
                logits = model.model(sample, use_cache=False).logits
                loss = cross_entropy(logits[0, :-1].float(), sample[0, 1:])
                place.copy_(torch.autograd.grad(loss, given.pop())[0])
    finally:
        hook.remove()
        model.empty_rest()
    return gradients


def _through(
    fabric: Fabric, block: nn.Module, names: list[str], inputs: Tensor, gradients: Tensor, kwargs: BlockKwargs
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the mean squared gradients of a block's tensors `names`, and the gradients in its inputs."""
    own = dict(block.named_parameters())
    tensors = {name: own[name].detach().requires_grad_() for name in names}
    squares = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    before = torch.empty_like(inputs)
    for place, x, gradient in zip(before.split(1), inputs.split(1), gradients.split(1), strict=True):
        x = fabric.to_device(x).requires_grad_()
        output = _run(block, tensors, x, kwargs)
        first, *rest = torch.autograd.grad(output, [x, *tensors.values()], fabric.to_device(gradient))
        place.copy_(first)
        for square, found in zip(squares.values(), rest, strict=True):
            square += found.square() / len(inputs)
    return {name: square.cpu() for name, square in squares.items()}, before


def _run(block: nn.Module, tensors: dict[str, Tensor], hidden: Tensor, kwargs: BlockKwargs) -> Tensor:
    return block_output(functional_call(block, tensors, (hidden,), kwargs), hidden.shape)
