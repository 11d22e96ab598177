"""Models with experts are refused in one line, before any weight or text is read; dense models are not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

import swq as library
from swq.errors import UserError
from swq.models.adapter import DecoderModel
from tests.support.console import swq
from tests.support.families import EXPERTS, tiny_lm

TOKENS = torch.randint(0, 96, (2, 16), generator=torch.Generator().manual_seed(0))


def line(name: str) -> str:
    place = {"qwen2_moe": "model.layers.1.mlp.experts"}.get(name, "model.layers.0.mlp.experts")
    return (
        f"model_type '{name}' has experts ({place}), and models with experts are not supported: their weights are not"
        " Linear modules that every token passes, and calibration would know each expert only by the few tokens that"
        " are routed to it"
    )


@pytest.fixture(params=EXPERTS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(name: str, tmp_path: Path) -> Path:
    """A model's folder without its weights: whatever reads them would say so."""
    tiny_lm(name).save_pretrained(tmp_path / "model")
    (tmp_path / "model/model.safetensors").unlink()
    return tmp_path / "model"


@pytest.mark.parametrize("method", [library.RTN(), library.OmniQuant(epochs=1)])
def test_a_model_in_memory_is_refused(name: str, method: library.RTN | library.OmniQuant) -> None:
    """Also where nothing is calibrated."""
    loss = {"mse": 1.0} if method.trains else None
    with pytest.raises(UserError) as said:
        library.quantize(tiny_lm(name), TOKENS, "w4a16g32", method, loss)
    assert str(said.value) == line(name)


def test_a_folder_is_refused_before_its_weights_are_read(name: str, folder: Path) -> None:
    for refused in (
        DecoderModel.open,
        DecoderModel.skeleton,
        lambda place: library.quantize(place, None, "w4a16g32", library.RTN()),
    ):
        with pytest.raises(UserError) as said:
            refused(folder)
        assert str(said.value) == line(name)


def test_the_console_refuses_before_a_text_is_read(name: str, folder: Path, tmp_path: Path) -> None:
    given = ("--scheme", "w3a16g32", "--method", "gptq", "--calibration", tmp_path / "nowhere.txt")
    assert swq("quantize", folder, *given, "--out", tmp_path / "out") == f"error: {line(name)}"
    assert [path.name for path in tmp_path.iterdir()] == ["model"], "nothing is left"


def test_a_dense_model_that_counts_experts_is_not_refused() -> None:
    """Doge's configuration has 16,384 experts, and its blocks have none unless is_moe is on."""
    sizes = {"vocab_size": 96, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
    config = AutoConfig.for_model("doge", num_attention_heads=4, num_key_value_heads=2, **sizes)
    assert config.num_experts > 1 and not config.is_moe
    assert len(DecoderModel(AutoModelForCausalLM.from_config(config)).blocks) == 2
