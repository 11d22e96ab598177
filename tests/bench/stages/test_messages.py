"""What a user sees when a stage cannot do its work, and that nothing half-written is left behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from bench import runtime
from bench.config.params import Params, load_params
from bench.config.sections import Runtime
from bench.preflight.check import check
from bench.stages.fetch import fetch_corpus, fetch_model
from swq.errors import UserError
from swq.files import atomic_folder
from tests.support import tiny_suite
from tests.support.repository import ROOT


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """The tiny suite in the current folder, its inputs made but nothing fetched."""
    monkeypatch.chdir(tmp_path)
    tiny_suite.write_model(tmp_path / "inputs/model")
    tiny_suite.write_params(tmp_path, tiny_suite.params())
    return load_params()


def edit_config(change: dict[str, Any]) -> None:
    path = Path("inputs/model/config.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


def test_missing_model_folder(params: Params) -> None:
    shutil.rmtree("inputs/model")
    with pytest.raises(
        UserError, match=r"model 'inputs/model' is not a transformers model folder: there is no inputs/model"
    ):
        fetch_model(params, "tiny")
    assert not list(Path("data/models").iterdir())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"architectures": ["LlamaForSequenceClassification"]}, "contain no causal language model"),
        ({"model_type": "lama"}, "unknown model_type 'lama'; did you mean 'llama'"),
    ],
)
def test_model_that_is_no_known_causal_lm(params: Params, change: dict[str, Any], said: str) -> None:
    edit_config(change)
    with pytest.raises(UserError, match=said):
        fetch_model(params, "tiny")
    assert not list(Path("data/models").iterdir())


def test_model_without_tokenizer(params: Params) -> None:
    for path in Path("inputs/model").glob("tokenizer*"):
        path.unlink()
    with pytest.raises(UserError, match="holds no tokenizer files"):
        fetch_model(params, "tiny")


def test_corpus_that_is_not_there(params: Params) -> None:
    with pytest.raises(UserError, match=r"corpus file inputs/corpus/calibration.json cannot be read"):
        fetch_corpus(params, "words")


def test_check_compares_lengths_and_schemes_with_the_model(params: Params) -> None:
    assert check(params).startswith("params.yaml is valid: suite tiny, 5 cells")
    edit_config({"max_position_embeddings": 48})
    with pytest.raises(UserError, match=r"protocol.perplexity.seq_len: 64 tokens are more than .*allowed: up to 48"):
        check(params)
    edit_config({"intermediate_size": 80, "max_position_embeddings": 256})
    with pytest.raises(UserError, match=r"cells.tiny-rtn: model tiny: .*divide the 80 input channels of mlp.down_proj"):
        check(params)


def test_check_tells_what_would_surprise(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half precision without a GPU, and a conf/ that params.yaml does not follow."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert check(params).endswith("tiny-omniquant-sw, tiny-tesseraq-sw")
    cells = params.cells | {"tiny-rtn": params.cells["tiny-rtn"].model_copy(update={"precision": "16-mixed"})}
    assert "(or add precision: 32-true): tiny-rtn" in check(params.model_copy(update={"cells": cells}))
    shutil.copytree(ROOT / "conf", "conf")
    assert check(params).endswith("note: conf/ has no suite 'tiny' that it could be compared with")
    values = tiny_suite.params()
    Path("conf/config.yaml").write_text("defaults: [{suite: tiny}, _self_]\n")
    Path("conf/suite/tiny.yaml").write_text("# @package _global_\n" + yaml.safe_dump(values))
    assert "conf/" not in check(params)
    Path("conf/suite/tiny.yaml").write_text("# @package _global_\n" + yaml.safe_dump(values | {"trainings": {"a": {}}}))
    said = check(params)
    assert "note: params.yaml was edited by hand: move the change into conf/" in said
    assert said.endswith("`python -m bench compose tiny --force` drops it")


def test_task_that_the_corpus_folder_lacks_is_named(params: Params, tmp_path: Path) -> None:
    tiny_suite.write_corpus(tmp_path / "inputs/corpus")
    check(params)
    (tmp_path / "inputs/corpus/piqa.json").unlink()
    with pytest.raises(UserError, match=r"^protocol.tasks: corpus folder inputs/corpus holds no piqa.json"):
        check(params)


def test_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"runtime.device is gpu, but torch sees no GPU"):
        runtime.start(Runtime(device="gpu", threads=1))


def test_half_precision_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fabric would quietly take bfloat16 instead."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    with pytest.raises(UserError, match="precision 16-mixed needs a GPU"):
        runtime.start_fabric(Runtime(device="auto", threads=1), "16-mixed")


def test_full_disk_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    """/dev/full answers every write as a full disk does."""
    kept = tmp_path / "result"
    kept.mkdir()
    (kept / "before").touch()
    with (
        pytest.raises(UserError, match=f"no space left on the disk while writing {kept}"),
        atomic_folder(kept) as folder,
    ):
        (folder / "partial").write_text("something")
        Path("/dev/full").write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["result"]
    assert [path.name for path in kept.iterdir()] == ["before"]
