"""The model card that an export writes: a measured perplexity, the model's name, the command for the same codes."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

import swq as library
from swq.checkpoint import Artefact
from swq.errors import UserError
from swq.export import base_name
from tests.support import tiny_suite
from tests.support.console import swq
from tests.support.families import tiny_lm
from tests.support.repository import REFERENCE

FOLDER = REFERENCE / "models" / "tiny-llama"
RTN = ("--scheme", "w3a16g32", "--method", "rtn")


@pytest.fixture(scope="module")
def worded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with a tokenizer, a text, and the model quantized."""
    folder = tmp_path_factory.mktemp("worded")
    tiny_suite.write_model(folder / "model")
    lines = [json.dumps({"text": text}) for text in tiny_suite.passages(20, 40, seed=2)]
    (folder / "texts.jsonl").write_text("\n".join(lines))
    assert swq("quantize", folder / "model", *RTN, "--out", folder / "quantized") == 0
    return folder


def rows(folder: Path) -> dict[str, str]:
    """Return the table of a folder's model card."""
    lines = (folder / "README.md").read_text().splitlines()
    return {cells[1]: cells[2] for line in lines if len(cells := [part.strip() for part in line.split("|")]) == 4}


def tokens_of(worded: Path) -> Tensor:
    texts = [json.loads(line)["text"] for line in (worded / "texts.jsonl").read_text().splitlines()]
    return torch.tensor(AutoTokenizer.from_pretrained(worded / "model")("\n\n".join(texts))["input_ids"])


@torch.no_grad()
def by_transformers(folder: Path, windows: Tensor) -> float:
    """Return the perplexity of a written folder, by the loss that transformers computes."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    return float(torch.stack([model(window[None], labels=window[None]).loss for window in windows]).mean().exp())


@pytest.mark.parametrize("options", [(), ("--packed",), ("--dtype", "bfloat16")], ids=["plain", "packed", "bfloat16"])
def test_the_perplexity_is_that_of_the_written_files(
    options: tuple[str, ...], worded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--perplexity", worded / "texts.jsonl", "--length", "24", "--windows", "5")
    assert swq("export", worded / "quantized", *options, *given, "--device", "cpu", "--out", tmp_path / "out") == 0
    found = rows(tmp_path / "out")["perplexity"]
    dtype = options[1] if options[1:] else "float32"
    assert f"on 5 windows of 24 tokens (120 in all) of texts.jsonl, computed in {dtype}" in found
    said = float(found.split()[0])
    assert said == pytest.approx(by_transformers(tmp_path / "out", tokens_of(worded)[:120].view(5, 24)), rel=3e-4)
    base = by_transformers(worded / "model", tokens_of(worded)[:120].view(5, 24))
    assert abs(said - base) > 3e-3 * base, "rounding moves it"
    assert f"perplexity {said:.3f}" in capsys.readouterr().out


def test_the_whole_text_is_read_and_tokens_are_taken_as_they_are(worded: Path, tmp_path: Path) -> None:
    ids = tokens_of(worded)
    whole = ids[: len(ids) // 16 * 16].view(-1, 16)
    save_file({"tokens": whole}, tmp_path / "windows.safetensors")
    texts = ("--perplexity", worded / "texts.jsonl", "--length", "16")
    for place, given in (("text", texts), ("tokens", ("--perplexity", tmp_path / "windows.safetensors"))):
        assert swq("export", worded / "quantized", *given, "--out", tmp_path / place) == 0
    said = [rows(tmp_path / place)["perplexity"].split(" on ") for place in ("text", "tokens")]
    assert said[0][0] == said[1][0] and f"{len(whole)} windows of 16 tokens" in said[0][1]


def test_what_was_not_measured_is_said(worded: Path, tmp_path: Path) -> None:
    assert swq("export", worded / "quantized", "--out", tmp_path / "out") == 0
    found = rows(tmp_path / "out")["perplexity"]
    assert found == "not measured: `swq export`, given `--perplexity TEXT`, measures it"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--length", "16"), "--windows and --length are those of a text: give --perplexity too"),
        (("--perplexity", "no.txt"), "--perplexity: there is no file no.txt"),
        (("--perplexity", "TEXT", "--length", "4096"), " tokens, less than one window of 4096"),
        (("--perplexity", "TEXT", "--windows", "9999", "--length", "16"), "windows of 16; 9999 were asked for"),
        (("--perplexity", "TEXT", "--device", "tpu"), "unknown --device 'tpu'"),
    ],
)
def test_a_mistake_is_one_line(given: tuple[str, ...], said: str, worded: Path, tmp_path: Path) -> None:
    options = [worded / "texts.jsonl" if part == "TEXT" else part for part in given]
    found = swq("export", worded / "quantized", *options, "--out", tmp_path / "out")
    assert isinstance(found, str) and found.startswith("error: ") and "\n" not in found and said in found
    assert not (tmp_path / "out").exists()


def test_the_library_measures_too(fabric: Any, tmp_path: Path, calibration: Tensor) -> None:
    model = tiny_lm("opt").train()
    found = library.quantize(model, None, "w2a16g32", library.RTN(), fabric=fabric)
    windows = calibration % 96
    perplexity = found.export(tmp_path / "out", model, windows=windows, text="a random text", fabric=fabric)
    assert perplexity == pytest.approx(by_transformers(tmp_path / "out", windows), rel=1e-4)
    assert (
        f"{perplexity:.3f} on 8 windows of 32 tokens (256 in all) of a random text"
        in rows(tmp_path / "out")["perplexity"]
    )
    assert found.export(tmp_path / "other", model) is None and model.training
    for wrong in (
        windows[0],
        windows[:, :1],
        windows.float(),
        windows + 96,
        windows - 96,
        windows[:0],
        windows[:5].view(1, -1),
    ):
        with pytest.raises(UserError, match="perplexity: "):
            found.export(tmp_path / "third", model, windows=wrong, fabric=fabric)
    with pytest.raises(UserError, match=r"windows of 129 tokens are more than the model takes \(allowed: up to 128\)"):
        found.export(tmp_path / "third", model, windows=torch.zeros(1, 129).long(), fabric=fabric)
    assert not (tmp_path / "third").exists()


def test_a_model_that_diverged_is_named(fabric: Any, tmp_path: Path, calibration: Tensor) -> None:
    model = tiny_lm("llama")
    found = library.quantize(model, None, "w2a16g32", library.RTN(), fabric=fabric)
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    assert found.export(tmp_path / "out", model, windows=calibration % 96, fabric=fabric) == float("inf")
    assert rows(tmp_path / "out")["perplexity"].startswith("none: the model diverged on 8 windows")


# The name


@pytest.mark.parametrize(
    ("said", "name"),
    [
        (None, "weights"),
        ("owner/A-model_1.5", "owner/A-model_1.5"),
        ("a-model", "a-model"),
        ("/home/me/a-model", "weights"),
        ("./a-model", "weights"),
        ("~/a-model", "weights"),
        ("a/b/c", "weights"),
        ("", "weights"),
        ("swq/models", "weights"),  # it is there: a path
        (3, "weights"),
    ],
)
def test_the_name_is_the_models_own_or_its_folders(said: Any, name: str, tmp_path: Path) -> None:
    model = tiny_lm("llama")
    (tmp_path / "weights").mkdir()
    config = model.config.to_dict() | ({} if said is None else {"_name_or_path": said})
    (tmp_path / "weights/config.json").write_text(json.dumps(config))
    assert base_name(model, tmp_path / "weights") == name
    model.config.name_or_path = str(tmp_path / "weights")
    assert base_name(model, None) == name


def test_the_name_of_a_model_in_memory() -> None:
    model = tiny_lm("llama")
    assert base_name(model, None) == "LlamaForCausalLM"
    model.config.name_or_path = "owner/a-model"
    assert base_name(model, None) == "owner/a-model"


def test_a_name_that_is_given_counts(worded: Path, tmp_path: Path) -> None:
    assert swq("export", worded / "quantized", "--name", "owner/mine", "--out", tmp_path / "out") == 0
    assert (tmp_path / "out/README.md").read_text().startswith("# owner/mine, quantized to w3a16g32")
    assert rows(tmp_path / "out")["base model"] == "owner/mine (llama)"


# The command

METHODS: dict[str, tuple[Any, Any]] = {
    "rtn": (library.RTN(), None),
    "awq": (library.AWQ(clip=False), None),
    "gptq": (library.GPTQ(percdamp=1e-5, act_order=True), None),
    "omniquant": (
        library.OmniQuant(epochs=1, lwc_lr=0.1),
        library.Loss({"mse": 0.9, "sw": 0.1}, n_projections=16, normalised=True),
    ),
    "tesseraq": (
        library.TesseraQ((0.5, 0.1), iterations=2, start=library.OmniQuant(epochs=1)),
        library.Loss({"l2": 1.0}),
    ),
}


@pytest.mark.parametrize("method", METHODS)
def test_the_command_gives_the_same_codes(method: str, calibration: Tensor, tmp_path: Path, fabric: Any) -> None:
    settings, loss = METHODS[method]
    given: dict[str, Any] = {"seed": 4, "scale_dtype": "float32", "fabric": fabric}
    found = library.quantize(FOLDER, calibration, "w3a16g32", settings, loss, **given)
    found.export(tmp_path / "exported", packed=True)
    save_file({"tokens": calibration}, tmp_path / "tokens.safetensors")
    places = {
        "FOLDER": FOLDER,
        "TEXT": tmp_path / "tokens.safetensors",
        "quantized": tmp_path / "quantized",
        "exported": tmp_path / "again",
    }
    first, second = rows(tmp_path / "exported")["command"].strip("`").split(" && ")
    for command in (first, second):
        program, *words = (places.get(word, word) for word in shlex.split(command))
        assert program == "swq" and swq(*words) == 0
    again = Artefact.load(tmp_path / "quantized/quantized.safetensors")
    assert again.tensors.keys() == found.artefact.tensors.keys()
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in found.artefact.tensors.items())
    cards = [(tmp_path / place / "README.md").read_text() for place in ("exported", "again")]
    assert cards[0] == cards[1]


def test_a_method_that_the_console_lacks_has_no_command(fabric: Any, tmp_path: Path) -> None:
    class Mine(library.RTN):
        pass

    found = library.quantize(FOLDER, None, "w3a16g32", Mine(), fabric=fabric)
    found.export(tmp_path / "out")
    assert rows(tmp_path / "out")["command"] == "none: the method is an object of Python"
