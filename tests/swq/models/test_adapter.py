"""A transformers model seen as blocks: what enters the first one, and the batch dimension on the way through."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor

from swq.errors import UserError
from swq.losses import Loss
from swq.methods.omniquant import OmniQuant
from swq.models.adapter import DecoderModel, block_output
from swq.models.folder import check_model_folder
from swq.reconstruct.data import ActivationPaths
from swq.reconstruct.module import BlockReconstruction
from tests.support.recipes import context
from tests.support.tiny_suite import write_model

HIDDEN = torch.Size((3, 5, 8))


def test_block_output_takes_a_tensor_and_a_tuple() -> None:
    """transformers 5 returns the first, older ones the second."""
    hidden = torch.rand(HIDDEN)
    assert block_output(hidden, HIDDEN) is hidden
    assert block_output((hidden, torch.rand(1)), HIDDEN) is hidden


@pytest.mark.parametrize("wrap", [lambda hidden: hidden, lambda hidden: (hidden,)])
def test_block_output_without_batch_dimension_is_an_error(wrap: object) -> None:
    """What [0] of a tensor leaves: mse would broadcast it against every target without a word."""
    assert callable(wrap)
    with pytest.raises(RuntimeError, match=r"a block returned \(5, 8\) for an input of \(3, 5, 8\)"):
        block_output(wrap(torch.rand(HIDDEN)[0]), HIDDEN)


def test_first_inputs_are_the_models_own(tiny_llama: DecoderModel, calibration: Tensor) -> None:
    """Sample by sample here, three at once in the model's own forward."""
    tokens = calibration[:3]
    hidden, kwargs = tiny_llama.first_inputs(tokens)
    wanted = tiny_llama.model(tokens, output_hidden_states=True, use_cache=False).hidden_states[0]
    assert hidden.shape == (3, 32, 64)
    assert torch.equal(hidden, wanted)
    assert len(kwargs) == len(tiny_llama.blocks)


def test_blocks_work_again_after_first_inputs(tiny_llama: DecoderModel, calibration: Tensor) -> None:
    before = tiny_llama.model(calibration[:2]).logits
    tiny_llama.first_inputs(calibration[:3])
    assert not any("forward" in vars(block) for block in tiny_llama.blocks)
    assert torch.equal(tiny_llama.model(calibration[:2]).logits, before)


def test_blocks_work_again_after_a_failure(tiny_llama: DecoderModel) -> None:
    with pytest.raises(IndexError):
        tiny_llama.first_inputs(torch.full((1, 4), 256))  # the vocabulary has 256 tokens
    assert not any("forward" in vars(block) for block in tiny_llama.blocks)


def test_full_precision_path_reproduces_the_models_hidden_states(
    fabric: Fabric, tiny_llama: DecoderModel, calibration: Tensor
) -> None:
    """Block by block with the noted arguments: a lost mask or wrong positions would show."""
    tokens = calibration[:3]
    states = tiny_llama.model(tokens, output_hidden_states=True, use_cache=False).hidden_states
    paths = ActivationPaths(fabric, tiny_llama, tokens)
    first = paths.block_data(0, with_aug=True)
    torch.testing.assert_close(first.fp_output, states[1], rtol=1e-5, atol=1e-5)
    assert first.aug_output is not None
    assert torch.equal(first.aug_output, first.fp_output), "in the first block both targets are the same"
    paths.advance(0, first.fp_output, {})
    last = tiny_llama.model.get_submodule("model.norm")(paths.block_data(1, with_aug=False).fp_output)
    torch.testing.assert_close(last, states[-1], rtol=1e-5, atol=1e-5)


def test_fake_quantized_block_treats_samples_of_a_batch_alone(
    fabric: Fabric, tiny_llama: DecoderModel, calibration: Tensor
) -> None:
    paths = ActivationPaths(fabric, tiny_llama, calibration[:3])
    quantizer = OmniQuant().quantizer(context(tiny_llama, 0))
    module = BlockReconstruction(
        0, tiny_llama.blocks[0], paths.kwargs(0), quantizer, Loss(), lambda key, shape: torch.ones(shape)
    )
    together = module(paths.fp_hidden)
    alone = torch.cat([module(sample) for sample in paths.fp_hidden.split(1)])
    assert together.shape == paths.fp_hidden.shape
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(together, paths.block_data(0, with_aug=False).fp_output, atol=1e-2), "not quantized"


def test_linears_are_every_linear_of_a_block(tiny_llama: DecoderModel) -> None:
    """A family that forgets one would report more bits than it stores."""
    linears = {name for name, part in tiny_llama.blocks[1].named_modules() if isinstance(part, torch.nn.Linear)}
    assert set(tiny_llama.linears(1)) == linears
    assert len(linears) == 7


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "is not a transformers model folder: there is no"),
        ("{", "does not name a model_type"),
        ("{}", "does not name a model_type"),
        (
            {"model_type": "lama", "architectures": ["LamaForCausalLM"]},
            "unknown model_type 'lama'; did you mean 'llama'",
        ),
        (
            {"model_type": "llama", "architectures": ["LlamaForSequenceClassification"]},
            "contain no causal language model",
        ),
        ({"model_type": "llama"}, "architectures \\[\\] contain no causal language model"),
    ],
)
def test_folder_without_a_known_model_is_refused(tmp_path: Path, config: str | dict | None, message: str) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    with pytest.raises(UserError, match=message):
        check_model_folder(tmp_path)


def test_model_without_weights_is_refused_in_one_line(tmp_path: Path, reference: Path) -> None:
    config = (reference / "models" / "tiny-llama" / "config.json").read_text()
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(UserError, match="cannot be loaded: ") as error:
        DecoderModel.load(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        {"num_attention_heads": 0},
        {"hidden_size": "wide"},
        {"hidden_size": -64},
        {"num_hidden_layers": None},
        {"rope_parameters": 3},
        {"vocab_size": [1]},
        {"intermediate_size": {}},
    ],
)
def test_configuration_that_makes_no_sense_is_one_line(tmp_path: Path, change: dict[str, object]) -> None:
    write_model(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    for read in (DecoderModel.open, DecoderModel.skeleton, DecoderModel.load):
        with pytest.raises(UserError) as error:
            read(tmp_path).fill_rest(torch.device("cpu"))
        assert len(str(error.value).splitlines()) == 1
