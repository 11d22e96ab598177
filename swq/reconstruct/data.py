"""The two activation paths: one through the full-precision blocks, one through the quantized blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.func import functional_call

from swq.losses import Outputs
from swq.models.adapter import DecoderModel, block_output
from swq.models.recording import BlockKwargs
from swq.quant.moments import Moments

ROOM = 0.5  # share of a device's free memory that a block's samples may take; training needs the rest


@dataclass(frozen=True)
class BlockData:
    """What a block is trained on; each tensor is (N, T, C) for N samples.

    Attributes:
        hidden: the block's input on the quantized path.
        fp_output: the target: the block's output on the full-precision path.
        aug_output: a second target, the full-precision block's output on `hidden`; None unless the method asks
            for it.
        other: of a batch, the same targets of other samples; None unless the loss asks for them.
    """

    hidden: Tensor
    fp_output: Tensor
    aug_output: Tensor | None = None
    other: BlockData | None = None

    def without_aug(self) -> BlockData:
        """Return the same with the first target only."""
        return replace(self, aug_output=None)

    def nearest(self, fabric: Fabric) -> BlockData:
        """Return the same where training reads it fastest: on Fabric's device if there is room, else where it is.

        To be called when the block and what it learns are on the device.
        """
        tensors = (self.hidden, self.fp_output, self.aug_output)
        size = sum(tensor.nbytes for tensor in tensors if tensor is not None)
        if self.hidden.device == fabric.device or size > ROOM * free_bytes(fabric.device):
            return self
        return BlockData(*(None if t is None else fabric.to_device(t) for t in tensors))  # type: ignore[arg-type]

    def batch(self, fabric: Fabric, indices: list[int], with_other: bool = False) -> BlockData:
        """Return the samples `indices` on Fabric's device. Neighbours in rising order are not copied where they lie.

        Args:
            fabric: owns the device.
            indices: which samples.
            with_other: also return, as `other`, the samples that follow each of them; the first one follows the last.
        """
        first, last = indices[0], indices[-1] + 1
        neighbours = indices == list(range(first, last))

        def chosen(tensor: Tensor) -> Tensor:
            # Not by a list as the index: it would have to be copied to the device, and the host would wait for that.
            return tensor[first:last] if neighbours else torch.stack([tensor[index] for index in indices])

        tensors = (self.hidden, self.fp_output, self.aug_output)
        batch = BlockData(*(None if t is None else to_device(fabric, chosen(t)) for t in tensors))  # type: ignore[arg-type]
        if not with_other:
            return batch
        return replace(batch, other=self.batch(fabric, [(index + 1) % len(self.hidden) for index in indices]))

    @property
    def targets(self) -> dict[str, Tensor]:
        """The targets by name; the second one may be absent."""
        return {"target": self.fp_output} | ({} if self.aug_output is None else {"aug_target": self.aug_output})

    def outputs(self, quant_output: Tensor) -> dict[str, Outputs]:
        """Return what a batch's output is compared with, by the name of the target."""
        others = self.other.targets if self.other else {}
        return {name: Outputs(target, quant_output, others.get(name)) for name, target in self.targets.items()}


def to_device(fabric: Fabric, tensor: Tensor) -> Tensor:
    """Return a tensor on Fabric's device.

    With CUDA the copy leaves from page-locked memory, so the host does not wait for it: it goes on to prepare the next
    step while the device computes this one.
    """
    if torch.cuda.is_available() and tensor.device != fabric.device:
        tensor = tensor.pin_memory()
    return fabric.to_device(tensor)


def free_bytes(device: torch.device) -> int:
    """Return the memory that is free on an accelerator."""
    return torch.accelerator.get_memory_info(device)[0]


class ActivationPaths:
    """The activations of both paths at the input of one block, in host memory. The device sees one sample at a time.

    Args:
        fabric: owns the device and the precision.
        model: the full-precision model.
        calibration: (N, T) int64 tokens.
    """

    def __init__(self, fabric: Fabric, model: DecoderModel, calibration: Tensor) -> None:
        self.fabric = fabric
        self.blocks = model.blocks
        self.fp_hidden, kwargs = model.first_inputs(calibration)
        self.quant_hidden = self.fp_hidden
        self._kwargs = kwargs
        self._spare: Tensor | None = None  # memory that the next block's target is written into

    def kwargs(self, index: int) -> BlockKwargs:
        """Return the arguments that block `index` receives besides its input, on the device."""
        return {name: self.fabric.to_device(value) for name, value in self._kwargs[index].items()}

    def block_data(self, index: int, with_aug: bool) -> BlockData:
        """Return inputs and targets of block `index`; the paths must be at its input."""
        fp_output, self._spare = self._run(index, {}, self.fp_hidden, self._spare), None
        return BlockData(self.quant_hidden, fp_output, self._run(index, {}, self.quant_hidden) if with_aug else None)

    def moments(
        self,
        index: int,
        names: Iterable[str],
        group_size: int | None,
        n_tokens: int,
        tensors: dict[str, Tensor] | None = None,
    ) -> dict[str, Moments]:
        """Return the moments of the inputs of linears of block `index`, which runs on the quantized path's input.

        Args:
            index: the block; the paths must be at its input.
            names: the linears' paths inside it.
            group_size: input channels per group; None takes all as one group.
            n_tokens: samples at least twice as long are subsampled: every (T // n_tokens)-th token is taken.
            tensors: used in place of the block's own; None runs the full-precision block.
        """
        stride = max(1, self.quant_hidden.shape[1] // n_tokens)
        gathered: dict[str, Moments] = {}

        def note(name: str, inputs: Tensor) -> None:
            sample = Moments.of(inputs.flatten(end_dim=-2)[::stride], group_size)
            gathered[name] = gathered[name] + sample if name in gathered else sample

        self._note_inputs(index, names, self.quant_hidden, tensors or {}, note)
        return gathered

    def _note_inputs(
        self,
        index: int,
        names: Iterable[str],
        hidden: Tensor,
        tensors: dict[str, Tensor],
        note: Callable[[str, Tensor], None],
    ) -> None:
        """Run a block on `hidden`, and tell the input of each of some linears, once per sample.

        Some blocks flatten the sample; a row is one token either way.
        """
        with ExitStack() as hooks:
            for name in names:
                linear = self.blocks[index].get_submodule(name)
                handle = linear.register_forward_pre_hook(lambda _, arguments, name=name: note(name, arguments[0]))
                hooks.callback(handle.remove)
            for _ in self._outputs(index, tensors, hidden):
                pass

    def mean_inputs(
        self, index: int, names: Iterable[str], hidden: Tensor, tensors: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the mean input (in,) over all tokens of linears of block `index`, which runs on `hidden` (N, T, C).

        Args:
            index: the block.
            names: the linears' paths inside it.
            hidden: its input.
            tensors: used in place of the block's own.
        """
        gathered: dict[str, Tensor] = {}

        def note(name: str, inputs: Tensor) -> None:
            mean = inputs.flatten(end_dim=-2).float().mean(dim=0) / len(hidden)
            gathered[name] = gathered[name] + mean if name in gathered else mean

        self._note_inputs(index, names, hidden, tensors, note)
        return gathered

    def advance(self, index: int, fp_output: Tensor, tensors: dict[str, Tensor]) -> None:
        """Move both paths past block `index`; the quantized path uses `tensors` in place of the block's own.

        Activations are the largest thing in host memory. So the quantized path's are overwritten, sample by sample, and
        the full-precision path's, which are no longer needed, make room for the next target: new memory would have to
        be cleared by the system first. At the first block both paths are the same tensor.
        """
        self._spare = self.fp_hidden if self.fp_hidden is not self.quant_hidden else None
        self.fp_hidden = fp_output
        self.quant_hidden = self._run(index, tensors, self.quant_hidden, out=self.quant_hidden)

    def _run(self, index: int, tensors: dict[str, Tensor], hidden: Tensor, out: Tensor | None = None) -> Tensor:
        out = torch.empty_like(hidden) if out is None else out
        for place, output in zip(out.split(1), self._outputs(index, tensors, hidden), strict=True):
            place.copy_(output)
        return out

    def _outputs(self, index: int, tensors: dict[str, Tensor], hidden: Tensor) -> Iterator[Tensor]:
        """Yield the block's output of one sample after another, on the device."""
        block, kwargs = self.fabric.to_device(self.blocks[index]), self.kwargs(index)
        assert isinstance(block, nn.Module)
        tensors = {name: self.fabric.to_device(tensor) for name, tensor in tensors.items()}
        for sample in hidden.split(1):
            with torch.no_grad(), self.fabric.autocast():
                output = functional_call(block, tensors, (self.fabric.to_device(sample),), kwargs)
            yield block_output(output, sample.shape)
