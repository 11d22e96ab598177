"""What ApiQ learns in a block: OmniQuant's clipping factors, and an adapter for each linear."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from swq.methods.omniquant.block import OmniQuantBlock
from swq.methods.quantizer import BlockContext, BlockQuantizer, BlockResult
from swq.quant.affine import Adapter

if TYPE_CHECKING:
    from swq.methods.apiq import ApiQ


class LowRank(nn.Module):
    """A linear's adapter: `up` (out, rank) starts at 0, so that training starts from the quantized weight alone.

    `down` (rank, in) starts from normals with the standard deviation 1 / sqrt(3 in), as LoRA is usually started.
    """

    def __init__(self, normals: Tensor, like: Tensor) -> None:
        super().__init__()
        self.down = nn.Parameter(normals.to(like.device) / (3 * like.shape[1]) ** 0.5)
        self.up = nn.Parameter(torch.zeros(len(like), len(normals), device=like.device))

    def forward(self) -> Tensor:
        # Training runs under autocast, which would multiply in half precision what is stored and used in full.
        with torch.autocast(self.up.device.type, enabled=False):
            return self.up @ self.down


class ApiQBlock(BlockQuantizer):
    """The clipping factors and adapters of every linear of a block, and the saliency of its weights if it counts."""

    rounds = 1

    def __init__(self, settings: ApiQ, block: BlockContext) -> None:
        super().__init__()
        self.settings = settings
        self.scale_dtype = block.scale_dtype
        self.clipping = OmniQuantBlock(settings.clipping, block)
        self.adapters = nn.ModuleDict()
        for name, linear in block.linears.items():
            if settings.rank:
                normals = block.normals(f"adapter of {name}", (settings.rank, linear.in_features))
                self.adapters[_key(name)] = LowRank(normals, linear.weight)
        weights = self.clipping.plain.weights
        self.saliency = {name: square.to(weights[name].device) for name, square in block.saliency.items()}
        self.whole = _weighted((self.saliency[name], weights[name]) for name in self.saliency)

    def forward(self) -> dict[str, Tensor]:
        tensors = self.clipping()
        for name, adapter in self._each():
            tensors[f"{name}.weight"] = tensors[f"{name}.weight"] + adapter()
        return tensors

    def penalties(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the saliency-weighted squared change of the block's weights, relative to that of setting them to 0."""
        if not self.saliency:
            return {}
        weights = self.clipping.plain.weights
        changed = _weighted((s, tensors[f"{name}.weight"] - weights[name]) for name, s in self.saliency.items())
        return {"saliency": self.settings.saliency_weight * changed / self.whole}

    def aug_loss(self, round_index: int) -> bool:
        return self.clipping.aug_loss(round_index)

    def start_round(self, round_index: int) -> Optimizer:
        optimizer = self.clipping.start_round(round_index)
        if self.adapters:
            rate, decay = self.settings.adapter_lr, self.settings.adapter_weight_decay
            optimizer.add_param_group({"params": list(self.adapters.parameters()), "lr": rate, "weight_decay": decay})
        return optimizer

    def batches(self, round_index: int, n_samples: int, generator: torch.Generator) -> Iterator[list[int]]:
        """One sample per step, in the same order in every epoch."""
        return self.clipping.batches(round_index, n_samples, generator)

    @torch.no_grad()
    def finalize(self) -> BlockResult:
        result = self.clipping.finalize()
        for name, adapter in self._each():
            stored = Adapter(*(factor.detach().to(self.scale_dtype) for factor in (adapter.down, adapter.up)))
            result.weights[name] = replace(result.weights[name], adapter=stored)
        return result

    def _each(self) -> Iterator[tuple[str, LowRank]]:
        for key, adapter in self.adapters.items():
            assert isinstance(adapter, LowRank)
            yield key.replace("/", "."), adapter


def _weighted(pairs: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the sum of saliency times squared values over all linears."""
    return sum(((saliency * values.square()).sum() for saliency, values in pairs), start=torch.zeros(()))


def _key(name: str) -> str:
    return name.replace(".", "/")  # a ModuleDict allows no dots
