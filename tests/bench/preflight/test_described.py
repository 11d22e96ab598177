"""What a model's files tell about its blocks is what the model tells when it is built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.preflight.described import described_by_files, described_by_skeleton, fitting_pairs
from tests.support.families import FAMILIES, UNKNOWN, tiny_model


def saved(name: str, folder: Path) -> Path:
    tiny_model(name).model.save_pretrained(folder)
    return folder


def edit(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


@pytest.mark.parametrize("name", FAMILIES)
def test_files_say_what_the_model_says(name: str, tmp_path: Path) -> None:
    folder = saved(name, tmp_path)
    assert described_by_files(folder) == described_by_skeleton(folder)


def test_widths_and_context_are_read(tmp_path: Path) -> None:
    found = described_by_files(saved("opt-post-norm", tmp_path))
    assert found is not None and found.has_pairs and found.context == 128
    assert found.inputs["fc2"] == 96 and found.inputs["self_attn.q_proj"] == 64


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_family_is_built(name: str, tmp_path: Path) -> None:
    assert described_by_files(saved(name, tmp_path)) is None


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("llama", {"num_hidden_layers": 3}),
        ("llama", {"hidden_size": 32}),
        ("llama", {"intermediate_size": 80, "vocab_size": 90}),
        ("llama", {"max_position_embeddings": None}),
        ("opt", {"do_layer_norm_before": None}),
        ("opt", {"model_type": ["opt"]}),
    ],
)
def test_what_files_leave_open_is_asked_of_the_model(family: str, changes: dict[str, Any], tmp_path: Path) -> None:
    folder = saved(family, tmp_path)
    assert described_by_files(folder) is not None
    edit(folder, **changes)
    assert described_by_files(folder) is None


def test_configuration_alone_is_not_enough(tmp_path: Path) -> None:
    folder = saved("llama", tmp_path)
    (folder / "model.safetensors").unlink()
    assert described_by_files(folder) is None
    (folder / "model.safetensors").write_bytes(b"no header")
    assert described_by_files(folder) is None


@pytest.mark.parametrize("name", FAMILIES)
def test_pairs_by_shapes_are_the_models_own(name: str) -> None:
    """Also where several linears are fused into one, of which a pair takes the last part."""
    model = tiny_model(name)
    block = {path: tuple(tensor.shape) for path, tensor in model.blocks[0].state_dict().items()}
    assert fitting_pairs(model.family, model.model.config.to_dict(), block) == model.scale_pairs(0)
