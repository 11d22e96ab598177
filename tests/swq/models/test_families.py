"""Every family through every method: what is stored computes what was trained, at any batch size."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.func import functional_call

from swq.checkpoint import Artefact
from swq.errors import UserError
from swq.losses import Loss
from swq.methods.awq import AWQ
from swq.methods.base import Method
from swq.methods.gptq import GPTQ
from swq.methods.omniquant import OmniQuant
from swq.methods.omniquant.let import LearnableTransform
from swq.methods.quantizer import BlockContext
from swq.methods.rtn import RTN
from swq.methods.tesseraq import TesseraQ
from swq.methods.transfer import can_shift
from swq.models.adapter import DecoderModel, block_output
from swq.models.introspect import introspect
from swq.quant.scheme import Scheme
from swq.reconstruct.data import ActivationPaths
from swq.reconstruct.recipe import Recipe
from swq.reconstruct.runner import reconstruct
from tests.support.families import FAMILIES, UNKNOWN, tiny_model

SCHEME = Scheme(3, 32)
TOKENS = torch.randint(0, 96, (3, 24), generator=torch.Generator().manual_seed(5))
FAST = TesseraQ((0.5, 0.1), iterations=2, batch_size=2, lr=0.02, start=AWQ())

WITHOUT_PAIRS = {
    "rtn": RTN(),
    "clips": AWQ(scale=False),
    "gptq": GPTQ(),
    "gptq, large inputs first": GPTQ(act_order=True, true_sequential=False),
    "omniquant": OmniQuant(epochs=1),
    "tesseraq": TesseraQ((0.5, 0.1), iterations=2, batch_size=2, start=OmniQuant(epochs=1, aug_loss=True)),
}
WITH_PAIRS = {"awq": AWQ(), "let": OmniQuant(epochs=1, let=True, lwc_lr=0.05, let_lr=0.05), "tesseraq-awq": FAST}
METHODS = WITHOUT_PAIRS | WITH_PAIRS


@contextmanager
def last_output(model: DecoderModel) -> Iterator[list[Tensor]]:
    """Note what leaves the last block."""
    noted: list[Tensor] = []
    handle = model.blocks[-1].register_forward_hook(
        lambda _, args, output: noted.append(output if isinstance(output, Tensor) else output[0])
    )
    try:
        yield noted
    finally:
        handle.remove()


def recipe_of(method: Method) -> Recipe:
    return Recipe(method, SCHEME, Loss({"mse": 0.9, "sw": 0.1}, 8) if method.trains else None, seed=1)


def check_method(fabric: Fabric, name: str, method: Method) -> None:
    """What the walk passes on from block to block is what the stored artefact computes, in one batch or alone."""
    model = tiny_model(name)
    untouched = copy.deepcopy(model.model.state_dict())
    records = list(reconstruct(fabric, model, recipe_of(method), TOKENS))
    assert all(torch.equal(tensor, untouched[key]) for key, tensor in model.model.state_dict().items())
    assert {path for record in records for path in record.shapes} == {
        f"{model.block_name(i)}.{linear}" for i in range(2) for linear in model.linears(i)
    }
    paths = ActivationPaths(fabric, model, TOKENS)
    for index, record in enumerate(records):
        data = paths.block_data(index, with_aug=False)
        stored = Artefact("x", SCHEME, "m", record.shapes, record.packed, record.changed)
        prefix = f"{model.block_name(index)}."
        tensors = {f"{path}.weight": stored.weight(path).dequantize() for path in record.shapes} | record.changed
        paths.advance(index, data.fp_output, {key.removeprefix(prefix): t for key, t in tensors.items()})
        stored.apply(model.model, "m")
    with last_output(model) as together, torch.no_grad():
        model.model(TOKENS)
    with last_output(model) as alone, torch.no_grad():
        [model.model(sample) for sample in TOKENS.split(1)]
    scale = paths.fp_hidden.abs().max().item()
    assert torch.isfinite(together[0]).all() and not torch.allclose(together[0], paths.fp_hidden, atol=1e-2 * scale)
    torch.testing.assert_close(together[0], paths.quant_hidden, rtol=0.0, atol=2e-5 * scale)
    torch.testing.assert_close(torch.cat(alone), together[0], rtol=0.0, atol=2e-5 * scale)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", FAMILIES)
def test_stored_is_what_was_trained(fabric: Fabric, name: str, method: str) -> None:
    check_method(fabric, name, METHODS[method])


@pytest.mark.parametrize("name", ["llama", "opt"])
def test_a_scale_between_queries_and_keys_is_stored(fabric: Fabric, name: str) -> None:
    check_method(fabric, name, OmniQuant(epochs=1, let=True, let_lr=0.05, let_query_key=True))


@pytest.mark.parametrize("method", WITHOUT_PAIRS)
@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_family_works_where_no_pairs_are_needed(fabric: Fabric, name: str, method: str) -> None:
    check_method(fabric, name, WITHOUT_PAIRS[method])


@pytest.mark.parametrize("method", WITH_PAIRS)
def test_unknown_family_is_told_what_to_write(fabric: Fabric, method: str) -> None:
    with pytest.raises(UserError, match=r"model_type 'phi': describe it in a file of swq/models/.*awq with scale: fa"):
        list(reconstruct(fabric, tiny_model("phi"), recipe_of(WITH_PAIRS[method]), TOKENS))


@pytest.mark.parametrize("name", FAMILIES)
def test_introspection_finds_what_the_family_says(name: str) -> None:
    model = tiny_model(name)
    made_up = introspect(model.model, "x")
    assert made_up.blocks == model.family.blocks and set(made_up.linears) == set(model.family.linears)


@pytest.mark.parametrize("name", FAMILIES | UNKNOWN)
def test_full_precision_path_reproduces_the_model(fabric: Fabric, name: str) -> None:
    """A lost mask, window or position would show."""
    model = tiny_model(name)
    with last_output(model) as noted, torch.no_grad():
        model.model(TOKENS)
    paths = ActivationPaths(fabric, model, TOKENS)
    for index in range(2):
        paths.advance(index, paths.block_data(index, with_aug=False).fp_output, {})
    torch.testing.assert_close(paths.fp_hidden, noted[0], rtol=0.0, atol=1e-5 * noted[0].abs().max().item())


def test_pairs_are_those_that_change_nothing() -> None:
    sources = {name: [pair.source for pair in tiny_model(name).scale_pairs(0)] for name in FAMILIES}
    norms = ["input_layernorm", "post_attention_layernorm"]
    assert sources["llama"] == [norms[0], "self_attn.v_proj", norms[1], "mlp.up_proj"]
    for name in ("llama-grouped", "mistral", "qwen2", "qwen3"):
        assert sources[name] == [*norms, "mlp.up_proj"]
    assert sources["llama3"] == [*norms, "mlp.up_proj"]
    assert sources["phi3"] == [norms[0], "self_attn.qkv_proj", norms[1], "mlp.gate_up_proj"]
    assert sources["phi3-grouped"] == [*norms, "mlp.gate_up_proj"], "the last third are not the values"
    gemma = [norms[0], "pre_feedforward_layernorm", "mlp.up_proj"]
    assert sources["gemma2"] == gemma
    assert sources["gemma3"] == [gemma[0], "self_attn.v_proj", *gemma[1:]]
    assert sources["opt"] == ["self_attn_layer_norm", "self_attn.v_proj", "final_layer_norm", "fc1"]
    assert sources["opt-post-norm"] == ["self_attn.v_proj", "fc1"], "behind a block's norm goes the residual too"


def test_pairs_depend_on_the_configuration() -> None:
    """Only ReLU lets a positive scale pass, and a norm without a weight can take none."""
    gelu = tiny_model("opt", activation_function="gelu").scale_pairs(0)
    assert [pair.source for pair in gelu] == ["self_attn_layer_norm", "self_attn.v_proj", "final_layer_norm"]
    plain = tiny_model("opt", layer_norm_elementwise_affine=False).scale_pairs(0)
    assert [pair.source for pair in plain] == ["self_attn.v_proj", "fc1"]


def test_queries_and_keys_are_not_clipped() -> None:
    for name in FAMILIES:
        model = tiny_model(name)
        assert set(introspect(model.model, "x").not_clipped) == set(model.family.not_clipped) != set()
    assert tiny_model("gpt_neox").family.not_clipped == ("attention.query_key_value",)
    assert tiny_model("falcon").family.not_clipped == ("self_attention.query_key_value",)


def context(fabric: Fabric, model: DecoderModel) -> tuple[BlockContext, ActivationPaths]:
    paths = ActivationPaths(fabric, model, TOKENS)
    given = BlockContext(
        model.blocks[0],
        model.linears(0),
        SCHEME,
        torch.float32,
        model.family.not_clipped,
        model.scale_pairs(0),
        lambda names, group_size, n_tokens: paths.moments(0, names, group_size, n_tokens),
    )
    return given, paths


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_transformation_without_rounding_changes_nothing(fabric: Fabric, name: str, shift: bool) -> None:
    """LET with the quantizer off, its scales and shifts far from where they start, some scales negative."""
    model = tiny_model(name)
    block, paths = context(fabric, model)
    tensors = dict(model.blocks[0].named_parameters())
    if shift and not any(can_shift(tensors, pair) for pair in block.pairs if pair.let):
        with pytest.raises(UserError, match="let_shift needs biases"):
            LearnableTransform(block, 0.5, shift)
        return
    transform = LearnableTransform(block, 0.5, shift)
    generator = torch.Generator().manual_seed(2)
    for parameter in transform.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data.mul_(1 + 0.5 * noise).add_(0.1 * noise)
    layout = transform.layout()
    assert bool(transform.shifts) == shift and layout.changed
    moved = {f"{key}.weight": weight for key, weight in layout.weights.items()} | layout.changed
    with torch.no_grad():
        plain = functional_call(model.blocks[0], {}, (paths.fp_hidden,), paths.kwargs(0))
        given = functional_call(model.blocks[0], moved, (paths.fp_hidden,), paths.kwargs(0))
    wanted = block_output(plain, paths.fp_hidden.shape)
    difference = block_output(given, paths.fp_hidden.shape) - wanted
    assert difference.norm() < 1e-4 * wanted.norm()
    assert any(not torch.allclose(w, tensors[f"{key}.weight"], rtol=0.1) for key, w in layout.weights.items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_shift_under_autocast_is_the_one_that_is_stored(fabric: Fabric, dtype: torch.dtype) -> None:
    """Training lays the block out under autocast, and what is stored is laid out without it."""
    model = tiny_model("opt")
    transform = LearnableTransform(context(fabric, model)[0], 0.5, with_shift=True)
    stored = transform.layout()
    with torch.autocast("cpu", dtype):
        trained = transform.layout()
        assert (torch.ones(2, 2) @ torch.ones(2)).dtype == dtype, "autocast is off: the test would show nothing"
    assert any(name.endswith("q_proj.bias") for name in stored.changed), "no reader is shifted"
    for ours, wanted in ((trained.changed, stored.changed), (trained.weights, stored.weights)):
        assert ours.keys() == wanted.keys()
        assert all(torch.equal(ours[name], wanted[name]) for name in wanted)
    torch.cat(list(trained.changed.values())).sum().backward()
    assert all(shift.grad is not None and shift.grad.dtype == torch.float32 for shift in transform.shifts.values())


class Odd(nn.Module):
    """A model whose blocks are not what introspection can take."""

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(blocks)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Linear(2, 2), "no list of blocks with linears was found; describe it in a file of swq/models/"),
        (Odd(nn.LayerNorm(4)), "no list of blocks with linears"),
        (
            Odd(nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))),
            "layers are not all alike",
        ),
        (Odd(nn.Sequential(nn.Linear(2, 2), nn.Conv1d(2, 2, 1))), r"layers.0.1.weight does not belong to a Linear"),
    ],
)
def test_introspection_refuses_what_it_cannot_take(model: nn.Module, message: str) -> None:
    with pytest.raises(UserError, match=message):
        introspect(model, "odd")
