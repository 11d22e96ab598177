"""One block's reconstruction as a LightningModule: forward through the fake-quantized block, and the loss."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from lightning import LightningModule
from torch import Tensor, nn
from torch.func import functional_call

from swq.losses import Loss
from swq.methods.quantizer import BlockQuantizer
from swq.models.adapter import block_output
from swq.models.recording import BlockKwargs
from swq.reconstruct.data import BlockData

# (block, step, target) and a shape -> standard normals. Replaceable, so that a test can inject recorded directions.
Normals = Callable[[tuple[int | str, ...], tuple[int, ...]], Tensor]


class BlockReconstruction(LightningModule):
    """A block that runs with a quantizer's weights and is trained towards the full-precision output.

    The block is never changed: the quantizer's tensors replace its own during a call. Device, precision and
    strategy belong to the Fabric that runs it.
    """

    def __init__(
        self,
        index: int,
        block: nn.Module,
        kwargs: BlockKwargs,
        quantizer: BlockQuantizer,
        loss: Loss,
        normals: Normals,
    ) -> None:
        super().__init__()
        self.index = index
        self.block = block
        self.block_kwargs = kwargs
        self.quantizer = quantizer
        self.loss = loss
        self.normals = normals

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the fake-quantized block's output (B, T, C) for its input (B, T, C)."""
        return self._output(self.quantizer(), hidden)

    def _output(self, tensors: dict[str, Tensor], hidden: Tensor) -> Tensor:
        return block_output(functional_call(self.block, tensors, (hidden,), self.block_kwargs), hidden.shape)

    def training_step(self, batch: BlockData, step: int) -> dict[str, Tensor]:
        """Return the step's `loss` and each weighted term of it, the quantizer's own terms included.

        With `aug_loss`, the terms that compare outputs are sums over two targets.
        """
        tensors = self.quantizer()
        compared = batch.outputs(self._output(tensors, batch.hidden))
        values: dict[str, Tensor] = {}
        for target, outputs in compared.items():
            total, terms = self.loss(outputs, partial(self.normals, (self.index, step, target)))
            found = {"loss": total, **terms}
            values = {name: values[name] + value for name, value in found.items()} if values else found
        for name, penalty in self.quantizer.penalties(tensors).items():
            values = {**values, "loss": values["loss"] + penalty, name: penalty}
        return values
