"""conf/shapes.yaml: what it records of a model is what transformers builds from the same configuration."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from bench.config.sources import HubModel
from bench.preflight.described import described_by_skeleton
from bench.preflight.recorded import SHAPES, RecordedModel, contradiction, recorded
from bench.preflight.shapes import read_shapes
from swq.errors import UserError
from swq.models.adapter import DecoderModel
from tests.support.repository import ROOT

NAMES = list(yaml.safe_load((ROOT / SHAPES).read_text()))
LLAMA = "meta-llama/Llama-2-7b-hf"
COMMIT = "01c7f73d771dfac7d292323805ebc428287df4f9"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "conf").mkdir()
    shutil.copy(ROOT / SHAPES, tmp_path / SHAPES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def hub_model(repo: str = LLAMA, revision: str = COMMIT, commit: str | None = None) -> HubModel:
    return HubModel(source="hub", repo=repo, revision=revision, commit=commit)


def known(repo: str) -> RecordedModel:
    found = yaml.safe_load(SHAPES.read_text())[repo]
    model = recorded(hub_model(repo, "refs/pr/1", found["commit"]))
    assert model is not None
    return model


@pytest.mark.slow
@pytest.mark.parametrize("repo", NAMES)
def test_it_is_what_transformers_builds(repo: str, here: Path) -> None:
    """Every tensor's name and shape, and what follows from them."""
    model = known(repo)
    (here / "config.json").write_text(json.dumps(model.config))
    built = DecoderModel.skeleton(here)
    last = model.config["num_hidden_layers"] - 1
    in_block = {name: tuple(tensor.shape) for name, tensor in built.blocks[last].named_parameters()}
    prefix = f"{model.family.blocks}."
    outside = {name: tuple(t.shape) for name, t in built.model.named_parameters() if not name.startswith(prefix)}
    if model.config["tie_word_embeddings"]:
        outside.pop("lm_head.weight", None)  # it is the embedding
    assert len(built.blocks) == last + 1 and in_block == model.block and outside == model.other
    assert read_shapes(here) == model.shapes() and described_by_skeleton(here) == model.described()


def test_another_commit_is_not_the_recorded_one() -> None:
    assert recorded(hub_model()) is not None
    assert recorded(hub_model(revision="refs/pr/1", commit=COMMIT[:7])) is not None
    assert recorded(hub_model(revision=40 * "a")) is None
    assert recorded(hub_model(repo="meta-llama/Llama-2-70b-hf")) is None and recorded(None) is None


def test_a_contradiction_with_config_json_is_named(here: Path) -> None:
    model = known(LLAMA)
    (here / "config.json").write_text(json.dumps(model.config | {"more": 1}))
    assert contradiction(model, here) is None
    (here / "config.json").write_text(json.dumps(model.config | {"hidden_size": 5120}))
    said = contradiction(model, here)
    assert said is not None and said.endswith("says hidden_size: 4096, and " + f"{here / 'config.json'} says 5120")


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda m: m["config"].pop("vocab_size"), "config.vocab_size: is missing, or no whole number"),
        (lambda m: m["config"].update(model_type="lama"), "config.model_type: unknown model_type 'lama'; did you mean"),
        (lambda m: m["block"].pop("mlp.up_proj.weight"), "block.mlp.up_proj.weight: is missing, or no matrix"),
        (lambda m: m.update(revision="x"), "unknown key 'revision'"),
    ],
)
def test_a_mistake_in_the_file_is_named_in_one_line(edit, said: str) -> None:  # type: ignore[no-untyped-def]
    found = yaml.safe_load(SHAPES.read_text())
    edit(found[LLAMA])
    SHAPES.write_text(yaml.safe_dump(found))
    with pytest.raises(UserError) as caught:
        recorded(hub_model())
    assert said in str(caught.value) and "\n" not in str(caught.value) and LLAMA in str(caught.value)
