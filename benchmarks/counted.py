"""What one training step reads, writes and multiplies, counted in the step itself and without any memory for it.

The step's own code runs on tensors that have shapes and no values (torch's FakeTensorMode): a 7B block takes a second.
`Counter` sees every operation that torch dispatches, as a GPU would be told to run it one by one.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoConfig, AutoModelForCausalLM

from swq.losses import Loss, Outputs
from swq.methods.base import Method
from swq.methods.quantizer import BlockContext
from swq.models.adapter import DecoderModel, block_output
from swq.quant.scheme import Scheme
from swq.reconstruct.data import ActivationPaths

aten = torch.ops.aten
MOVES_NOTHING = {aten._unsafe_view, aten._reshape_alias, aten.lift_fresh, aten.empty, aten.empty_like, aten.new_empty}
MOVES_NOTHING |= {aten.empty_strided, aten.new_empty_strided, aten.detach, aten.empty_permuted}
ONLY_WRITES = {aten.copy_, aten.fill_, aten.zero_, aten.zeros_like, aten.ones_like, aten.full_like, aten.new_zeros}
BLOCK, FORWARD, BACKWARD = "block", "forward", "backward"
CASTS = "weights to half precision and back"
OF = {FORWARD: "forward", BACKWARD: "gradients of inputs"}


@dataclass(frozen=True)
class Operation:
    """One operation: the part of the step it belongs to, its FLOPs, the bytes it moves, and whether it multiplies in
    half precision."""

    part: str
    name: str
    flops: int
    bytes: int
    half: bool


class Counter(TorchDispatchMode):
    """Notes every operation that runs inside it, under the part that is current."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self._part = ""

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Note what runs inside under this name."""
        self._part, before = name, self._part
        try:
            yield
        finally:
            self._part = before

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        returns = [value.alias_info for value in func._schema.returns]
        is_view = any(alias is not None and not alias.is_write for alias in returns)
        works = func.namespace == "aten" and func.overloadpacket not in MOVES_NOTHING
        if self._part and works and not is_view:
            tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
            half = bool(tensors) and tensors[0].dtype in (torch.float16, torch.bfloat16)
            moved = _bytes_moved(func, args, kwargs or {}, out)
            self.operations.append(Operation(self._kind(func, tensors), str(func), _flops(func, args), moved, half))
        return out

    def _kind(self, func: Any, tensors: list[Tensor]) -> str:
        """Return the part, and for the block what kind of work it is there."""
        block, _, direction = self._part.partition(", ")
        if block != BLOCK:
            return self._part
        name = func.overloadpacket.__name__
        if name in ("mm", "addmm"):
            of_weights = direction == BACKWARD and not tensors[0].is_contiguous()  # gradient^T times input
            return f"products, {'gradients of weights' if of_weights else OF[direction]}"
        if name.startswith("_scaled_dot_product") or name == "bmm":
            return f"attention, {direction}"
        return CASTS if name == "_to_copy" and tensors[0].dim() == 2 else f"the rest, {direction}"


def _size(tensor: Tensor) -> int:
    """Return the bytes that a tensor really has; expanding it adds none."""
    sizes = (size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride)
    return torch.Size(sizes).numel() * tensor.element_size()


def _bytes_moved(func: Any, args: Any, kwargs: Any, out: Any) -> int:
    """Return every input once and every output once; what is changed in place is read and written."""
    written = {id(leaf): leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)}
    read = {}
    for place, argument in enumerate(func._schema.arguments):
        value = args[place] if place < len(args) else kwargs.get(argument.name)
        tensors = {id(leaf): leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)}
        if argument.alias_info is not None and argument.alias_info.is_write and argument.name != "grads":
            written |= tensors
        if argument.name != "self" or func.overloadpacket not in ONLY_WRITES:
            read |= tensors
    return sum(map(_size, [*read.values(), *written.values()]))


def _flops(func: Any, args: Any) -> int:
    """Return the FLOPs of products: two per multiplication. Attention counts all pairs of tokens, masked or not; its
    gradient takes five products where the forward pass takes two."""
    name = func.overloadpacket.__name__
    if name in ("mm", "bmm"):
        return 2 * args[0].numel() * args[1].shape[-1]
    if name == "addmm":
        return 2 * args[1].numel() * args[2].shape[-1]
    if name.startswith("_scaled_dot_product"):
        backward = "backward" in name
        query, key = args[1:3] if backward else args[0:2]
        return (10 if backward else 4) * query.numel() * key.shape[-2]
    return 0


def count_step(
    method: Method,
    scheme: Scheme,
    loss: Loss,
    shape: dict[str, Any],
    samples: int,
    tokens: int,
    half: torch.dtype | None,
) -> list[Operation]:
    """Return the operations of one step of a method's first round. The sliced-Wasserstein term is a part of its own.

    Args:
        method: what is trained; one that starts from another method must start from one without training.
        scheme: bits and groups.
        loss: of the step.
        shape: of the model, as keywords of transformers' `AutoConfig.for_model`.
        samples: of the step.
        tokens: of a sample.
        half: the dtype of autocast; None is float32.
    """
    # A model one head wide gives what every block is told besides its input: positions, and a mask if there is one.
    width = shape["hidden_size"] // shape["num_attention_heads"]
    narrow = {"hidden_size": width, "num_attention_heads": 1, "intermediate_size": 8, "ffn_dim": 8}
    narrow |= {"word_embed_proj_dim": width}
    paths = ActivationPaths(
        Fabric(accelerator="cpu", devices=1), _model(shape | narrow, tokens), torch.zeros(1, tokens, dtype=torch.int64)
    )
    fake = FakeTensorMode()
    kwargs = {
        name: torch.utils._pytree.tree_map_only(Tensor, fake.from_tensor, value)
        for name, value in paths.kwargs(0).items()
    }
    counter = Counter()
    autocast = torch.autocast("cpu", half) if half else nullcontext()
    with fake, counter:
        model = _model(shape, tokens)
        context = BlockContext(model.blocks[0], model.linears(0), scheme, torch.float16, (), (), lambda *_: {})
        quantizer = method.quantizer(context)
        optimizer = quantizer.start_round(0)
        hidden, target = (torch.empty(samples, tokens, shape["hidden_size"]) for _ in range(2))
        with autocast, counter.part(f"fake quantization, {FORWARD}"):
            tensors = quantizer()
        with autocast, counter.part(f"{BLOCK}, {FORWARD}"):
            output = block_output(functional_call(model.blocks[0], tensors, (hidden,), kwargs), hidden.shape)
        base = next(iter(loss.active))
        for name, one in ((f"loss {base}", Loss({base: 1.0})), ("", loss)):
            before = len(counter.operations)
            with autocast, counter.part(name or "sliced Wasserstein"):
                total, _ = one(Outputs(target, output), torch.empty)
            with counter.part(name or "sliced Wasserstein"):
                (grad,) = torch.autograd.grad(total, output, retain_graph=True)
            if name:
                twice = Tally((op.name, op.bytes) for op in counter.operations[before:])
        counter.operations[:] = _without(counter.operations, twice)
        learned = [tensor for tensor in tensors.values() if tensor.requires_grad]
        with counter.part(f"{BLOCK}, {BACKWARD}"):
            grads = torch.autograd.grad(output, learned, grad)
        with counter.part(f"fake quantization, {BACKWARD}"):
            torch.autograd.backward(learned, grads)
        optimizer.step()  # the first one makes the moments
        with counter.part("optimiser"):
            if half == torch.float16:  # the gradient scaler looks for infinities first
                found = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
                torch._amp_foreach_non_finite_check_and_unscale_(found, torch.zeros(1), torch.ones(1))
            optimizer.step()
    return counter.operations


def _without(operations: list[Operation], counted: Tally[tuple[str, int]]) -> list[Operation]:
    """Drop from the mixture's operations those of its first loss, which were counted by themselves."""
    kept, left = [], Tally(counted)
    for op in operations:
        if op.part == "sliced Wasserstein" and left[op.name, op.bytes] > 0:
            left[op.name, op.bytes] -= 1
        else:
            kept.append(op)
    return kept


def _model(shape: dict[str, Any], tokens: int) -> DecoderModel:
    config = AutoConfig.for_model(**shape, vocab_size=64, num_hidden_layers=1, max_position_embeddings=tokens)
    return DecoderModel(AutoModelForCausalLM.from_config(config))
