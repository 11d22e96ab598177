"""AWQ and what it is made of: moments, scales that change nothing before rounding, and norms that travel with codes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor
from torch.func import functional_call
from transformers import LlamaConfig, LlamaForCausalLM

from swq.checkpoint import Artefact
from swq.kernels.fake_quantize import fake_quantize
from swq.methods.awq import AWQ
from swq.methods.awq.search import N_RATIOS, search_scale
from swq.methods.quantizer import BlockContext, Layout
from swq.methods.rtn import RTN
from swq.models.adapter import DecoderModel, block_output
from swq.quant.affine import weight_range
from swq.quant.moments import Moments
from swq.quant.scheme import Scheme
from swq.reconstruct.data import ActivationPaths
from swq.reconstruct.recipe import Recipe
from swq.reconstruct.runner import reconstruct

SCHEME = Scheme(2, 32)


def normals(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def context(model: DecoderModel, paths: ActivationPaths, index: int) -> BlockContext:
    return BlockContext(
        model.blocks[index],
        model.linears(index),
        SCHEME,
        torch.float32,
        model.family.not_clipped,
        model.scale_pairs(index),
        lambda names, group_size, n_tokens: paths.moments(index, names, group_size, n_tokens),
    )


def test_moments_are_means_over_tokens() -> None:
    inputs = normals(2, 5, 8)
    tokens = inputs.reshape(10, 8)
    whole, grouped = Moments.of(inputs), Moments.of(inputs, 4)
    torch.testing.assert_close(whole.second[0], torch.stack([torch.outer(t, t) for t in tokens]).mean(dim=0))
    torch.testing.assert_close(grouped.second[1], whole.second[0, 4:, 4:])
    torch.testing.assert_close(whole.magnitude, tokens.abs().mean(dim=0))
    torch.testing.assert_close(whole.regrouped(4).second, grouped.second)


def test_moments_pool_and_scale_like_their_tokens() -> None:
    first, second, scale = normals(3, 8), normals(7, 8, seed=1), normals(8, seed=2).exp()
    pooled, wanted = Moments.of(first) + Moments.of(second), Moments.of(torch.cat([first, second]))
    scaled, divided = wanted.divided_by(scale), Moments.of(torch.cat([first, second]) / scale)
    for ours, theirs in ((pooled, wanted), (scaled, divided)):
        assert ours.n_tokens == theirs.n_tokens == 10
        torch.testing.assert_close(ours.second, theirs.second)
        torch.testing.assert_close(ours.magnitude, theirs.magnitude)


def test_scale_is_the_best_candidate_on_the_tokens_themselves() -> None:
    """Brute force over tokens instead of moments finds the same scale, and it beats no scaling."""
    inputs = normals(50, 64) * normals(64, seed=1).exp().square()
    weights = [normals(16, 64, seed=2), normals(8, 64, seed=3)]
    errors = {}
    for step in range(N_RATIOS):
        scale = inputs.abs().mean(dim=0) ** (step / N_RATIOS)
        scale = scale / (scale.max() * scale.min()).sqrt()
        rounded = [fake_quantize(g, *weight_range(g), 2) for g in (SCHEME.group(w * scale) for w in weights)]
        outputs = [(r.reshape(w.shape) / scale - w) @ inputs.T for r, w in zip(rounded, weights, strict=True)]
        errors[sum(output.square().sum().item() for output in outputs)] = scale
    assert 0 < list(errors).index(min(errors)) < N_RATIOS - 1, "an end would prove little"
    torch.testing.assert_close(search_scale(weights, Moments.of(inputs), SCHEME), errors[min(errors)])


def output_with(model: DecoderModel, paths: ActivationPaths, layout: Layout) -> Tensor:
    tensors = {f"{name}.weight": weight for name, weight in layout.weights.items()} | layout.changed
    with torch.no_grad():
        output = functional_call(model.blocks[0], tensors, (paths.quant_hidden,), paths.kwargs(0))
    return block_output(output, paths.quant_hidden.shape)


def test_scales_change_nothing_before_rounding(fabric: Fabric, tiny_llama: DecoderModel, calibration: Tensor) -> None:
    paths = ActivationPaths(fabric, tiny_llama, calibration)
    layout = AWQ(clip=False).quantizer(context(tiny_llama, paths, 0)).layout()
    plain = RTN().quantizer(context(tiny_llama, paths, 0)).layout()
    wanted, given = output_with(tiny_llama, paths, plain), output_with(tiny_llama, paths, layout)
    assert (given - wanted).norm() < 1e-5 * wanted.norm()
    moved = [name for name in layout.weights if not torch.equal(layout.weights[name], plain.weights[name])]
    assert len(moved) >= 5 and {"input_layernorm.weight", "post_attention_layernorm.weight"} == layout.changed.keys()


def test_clips_leave_queries_and_keys_alone(fabric: Fabric, tiny_llama: DecoderModel, calibration: Tensor) -> None:
    paths = ActivationPaths(fabric, tiny_llama, calibration)
    layout = AWQ(scale=False).quantizer(context(tiny_llama, paths, 0)).layout()
    clipped = {name for name, w in layout.weights.items() if not torch.equal(w, tiny_llama.linears(0)[name].weight)}
    assert clipped == {name for name in layout.weights if not name.endswith(("q_proj", "k_proj"))}
    assert layout.changed == {}


def final_error(fabric: Fabric, model: DecoderModel, calibration: Tensor, method: RTN | AWQ) -> float:
    """Return the relative error of the last block's output on the quantized path."""
    records = list(reconstruct(fabric, model, Recipe(method, SCHEME, None), calibration))
    quantized = DecoderModel.load(model.model.name_or_path)
    packed = {name: tensor for record in records for name, tensor in record.packed.items()}
    shapes = {path: shape for record in records for path, shape in record.shapes.items()}
    changed = {name: tensor for record in records for name, tensor in record.changed.items()}
    Artefact("awq", SCHEME, "m", shapes, packed, changed).apply(quantized.model, "m")
    wanted, given = (m.model(calibration).logits for m in (model, quantized))
    return ((given - wanted).norm() / wanted.norm()).item()


def test_each_part_lowers_the_models_error(fabric: Fabric, tiny_llama: DecoderModel, calibration: Tensor) -> None:
    with torch.no_grad():
        rtn, scaled, both = (
            final_error(fabric, tiny_llama, calibration, method) for method in (RTN(), AWQ(clip=False), AWQ())
        )
    assert both < scaled < rtn


def test_values_shared_by_heads_are_no_pair() -> None:
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    sources = [pair.source for pair in DecoderModel(LlamaForCausalLM(config)).scale_pairs(0)]
    assert sources == ["input_layernorm", "post_attention_layernorm", "mlp.up_proj"]


def test_changed_norms_travel_in_the_artefact(
    fabric: Fabric, tiny_llama: DecoderModel, calibration: Tensor, tmp_path: Path
) -> None:
    record = next(reconstruct(fabric, tiny_llama, Recipe(AWQ(), SCHEME, None), calibration))
    saved = Artefact("awq", SCHEME, "m", record.shapes, record.packed, record.changed)
    saved.save(tmp_path / "a.safetensors")
    loaded = Artefact.load(tmp_path / "a.safetensors")
    assert (
        loaded.changed.keys()
        == saved.changed.keys()
        == {
            "model.layers.0.input_layernorm.weight",
            "model.layers.0.post_attention_layernorm.weight",
        }
    )
    assert loaded.tensors.keys() == saved.tensors.keys()
    assert loaded.bits_per_weight() == Artefact("rtn", SCHEME, "m", record.shapes, record.packed).bits_per_weight()
    loaded.apply(tiny_llama.model, "m")
    for name, tensor in record.changed.items():
        assert torch.equal(tiny_llama.model.get_parameter(name), tensor)


@pytest.mark.parametrize("method", [AWQ(), AWQ(scale=False)])
def test_needs_calibration_but_no_loss(fabric: Fabric, tiny_llama: DecoderModel, method: AWQ) -> None:
    with pytest.raises(Exception, match="AWQ needs calibration tokens"):
        next(reconstruct(fabric, tiny_llama, Recipe(method, SCHEME, None)))
