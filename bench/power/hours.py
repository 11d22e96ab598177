"""Hours of one more seed of a row, by `estimate`'s arithmetic, without a network."""

from __future__ import annotations

from bench.config.params import Params
from bench.config.sources import FolderModel, HubModel
from bench.preflight.cost import cost
from bench.preflight.seconds import Rates
from bench.preflight.shapes import Linear, Shapes, read_shapes
from bench.store.paths import MODEL, model_folder


def shapes_at_hand(params: Params, name: str) -> Shapes | None:
    """Return a model's shapes from its folder or from the list below; None where only the hub knows them."""
    source = params.models.get(name)
    if isinstance(source, HubModel) and source.repo in LARGE:
        return LARGE[source.repo]
    if (model_folder(name) / MODEL).is_file():
        from bench.inputs.models import ModelRecord

        return read_shapes(ModelRecord.load(name).folder)
    return read_shapes(source.path) if isinstance(source, FolderModel) else None


def hours_of(params: Params, keys: tuple[str, ...], shapes: Shapes | None) -> float | None:
    """Return GPU hours of cells one after another; None if their model's shapes are not known."""
    if shapes is None:
        return None
    costs = [cost(params, params.cells[key], shapes, Rates()) for key in keys]
    return sum(c.reconstruct + c.score for c in costs) / 3600


def _llama(blocks: int, hidden: int, mlp: int, heads: int) -> Shapes:
    linears = [(name, hidden, hidden) for name in "qkvo"] + [("up", mlp, hidden)] * 2 + [("down", hidden, mlp)]
    parameters = 4 * hidden**2 + 3 * hidden * mlp + 2 * hidden
    rest = 2 * 32_000 * hidden + hidden
    return Shapes(blocks, hidden, heads, 32_000, parameters, rest, _quantized(linears))


def _opt(blocks: int, hidden: int, heads: int) -> Shapes:
    mlp = 4 * hidden
    linears = [(name, hidden, hidden) for name in "qkvo"] + [("up", mlp, hidden), ("down", hidden, mlp)]
    parameters = sum(rows * columns + rows for _, rows, columns in linears) + 4 * hidden
    rest = 2 * 50_272 * hidden + 2050 * hidden + 2 * hidden  # `read_shapes` counts the head too
    return Shapes(blocks, hidden, heads, 50_272, parameters, rest, _quantized(linears))


def _quantized(linears: list[tuple[str, int, int]]) -> tuple[Linear, ...]:
    return tuple(Linear(rows, columns, clipped=name not in "qk", scaled=True) for name, rows, columns in linears)


# The paper suite's models, as their configurations on the hub say.
LARGE = {
    "meta-llama/Llama-2-7b-hf": _llama(32, 4096, 11008, 32),
    "meta-llama/Llama-2-13b-hf": _llama(40, 5120, 13824, 40),
    "facebook/opt-6.7b": _opt(32, 4096, 32),
    "facebook/opt-125m": _opt(12, 768, 12),
}
