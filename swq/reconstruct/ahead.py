"""What a step needs from the host, prepared on a thread while the device computes the step before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from lightning.fabric import Fabric
from torch import Tensor

from swq.reconstruct.data import BlockData
from swq.reconstruct.module import BlockReconstruction

Key = tuple[int | str, ...]


def batches(
    fabric: Fabric, module: BlockReconstruction, data: BlockData, indices: Iterable[list[int]], step: int
) -> Iterator[BlockData]:
    """Yield a round's batches on Fabric's device, each with the directions that its step asks `module.normals` for.

    On a CPU nothing is prepared: a thread would take time from the step. Results do not depend on it, because every
    draw has its own key.

    Args:
        fabric: owns the device.
        module: is about to be trained on each batch.
        data: inputs and targets.
        indices: the samples of each step of the round.
        step: of the block, the round's first.
    """
    if host_computes(fabric):
        for chosen in indices:
            yield data.batch(fabric, chosen, module.loss.needs_other)
        return
    draw = module.normals
    try:
        for batch, drawn in _prepared(fabric, module, data, indices, step):
            module.normals = lambda key, shape, drawn=drawn: drawn[key] if key in drawn else draw(key, shape)  # type: ignore[misc]
            yield batch
    finally:
        module.normals = draw


def host_computes(fabric: Fabric) -> bool:
    """Whether the threads that would prepare a step are those that compute it."""
    return fabric.device.type == "cpu"


def _prepared(
    fabric: Fabric, module: BlockReconstruction, data: BlockData, indices: Iterable[list[int]], step: int
) -> Iterator[tuple[BlockData, dict[Key, Tensor]]]:
    """Yield each step's batch and directions, while a thread prepares those of the next one."""
    loss, draw = module.loss, module.normals
    shape = loss.directions(data.hidden.shape[-1])

    def prepare(chosen: list[int], number: int) -> tuple[BlockData, dict[Key, Tensor]]:
        keys: list[Key] = [(module.index, number, target) for target in data.targets] if shape else []
        return data.batch(fabric, chosen, loss.needs_other), {key: draw(key, shape) for key in keys if shape}

    remaining = enumerate(indices, step)
    with ThreadPoolExecutor(1) as thread:
        waiting: list[Future[tuple[BlockData, dict[Key, Tensor]]]] = []
        for number, chosen in remaining:
            waiting.append(thread.submit(prepare, chosen, number))
            if len(waiting) > 1:
                yield waiting.pop(0).result()
        for last in waiting:
            yield last.result()
