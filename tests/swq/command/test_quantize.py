"""`swq quantize`: the library's codes, after a kill too, and one line for every mistake."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import swq as library
from swq.calibration import sample_windows
from swq.checkpoint import Artefact
from swq.command.folder import read
from swq.command.run import UNFINISHED
from tests.support import tiny_suite
from tests.support.console import swq, swq_apart
from tests.support.repository import REFERENCE

FOLDER = REFERENCE / "models" / "tiny-llama"
TRAINED = ("--scheme", "w2a16g32", "--method", "omniquant", "--set", "epochs=2", "--loss", "mse=0.9,sw=0.1")
KILLED = """
import os, signal
import swq.reconstruct.runner as runner
save = runner.save_block
def killed(*block):
    save(*block)
    os.kill(os.getpid(), signal.SIGKILL)
runner.save_block = killed
"""


@pytest.fixture
def tokens(tmp_path: Path, calibration: Tensor) -> Path:
    """The recorded runs' tokens in a plain file."""
    save_file({"tokens": calibration}, tmp_path / "tokens.safetensors")
    return tmp_path / "tokens.safetensors"


@pytest.fixture(scope="module")
def worded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with a tokenizer, and texts."""
    folder = tmp_path_factory.mktemp("worded")
    tiny_suite.write_model(folder / "model")
    texts = [*tiny_suite.passages(20, 40, seed=2), "a line\u2028within a text"]
    lines = [json.dumps({"text": text}, ensure_ascii=False) for text in texts]
    (folder / "texts.jsonl").write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    (folder / "texts.txt").write_text("\n\n".join(texts), encoding="utf-8")
    return folder


def stored(folder: Path) -> Artefact:
    return Artefact.load(folder / "quantized.safetensors")


def equal(one: Artefact, other: Artefact) -> bool:
    same = one.tensors.keys() == other.tensors.keys()
    return same and all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)


@pytest.mark.parametrize(
    ("arguments", "method", "loss"),
    [
        (("--method", "rtn"), library.RTN(), None),
        (("--method", "awq", "--set", "scale=false"), library.AWQ(scale=False), None),
        (("--method", "omniquant", "--set", "epochs=1"), library.OmniQuant(epochs=1), {"mse": 1.0}),
        (
            ("--method", "tesseraq", "--set", "thresholds=[0.5]", "--set", "iterations=2", "--set", "start=rtn"),
            library.TesseraQ((0.5,), iterations=2, start=library.RTN()),
            {"l2": 1.0},
        ),
        (("--method", "apiq", "--set", "rank=4", "--set", "epochs=1"), library.ApiQ(4, 1), {"mse": 1.0}),
    ],
)
def test_codes_are_the_librarys(
    arguments: tuple[str, ...], method: Any, loss: Any, tokens: Path, calibration: Tensor, tmp_path: Path, fabric: Any
) -> None:
    out = tmp_path / "out"
    given = () if arguments[1] == "rtn" else ("--calibration", tokens)
    assert swq("quantize", FOLDER, *arguments, *given, "--scheme", "w3a16g32", "--seed", "3", "--out", out) == 0
    wanted = library.quantize(FOLDER, calibration, "w3a16g32", method, loss, seed=3, fabric=fabric)
    assert equal(stored(out), wanted.artefact)
    found = read(out).quantized
    assert found.recipe == wanted.recipe and found.calibration == wanted.calibration and found.source == FOLDER
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "tokens.safetensors"]


def test_biases_are_compensated_as_by_the_library(tokens: Path, calibration: Tensor, tmp_path: Path) -> None:
    opt = REFERENCE / "models" / "tiny-opt"
    given = ("--scheme", "w2a16g32", "--method", "rtn", "--bias-compensation", "--calibration", tokens)
    assert swq("quantize", opt, *given, "--out", tmp_path / "out") == 0
    wanted = library.quantize(opt, calibration, "w2a16g32", library.RTN(), bias_compensation=True)
    ours, theirs = stored(tmp_path / "out").changed, wanted.artefact.changed
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert read(tmp_path / "out").quantized.recipe == wanted.recipe
    assert swq("export", tmp_path / "out", "--out", tmp_path / "folder") == 0
    assert "RTN + bias compensation" in (tmp_path / "folder/README.md").read_text()
    assert "--bias-compensation --calibration TEXT" in (tmp_path / "folder/README.md").read_text()


@pytest.mark.parametrize("name", ["texts.jsonl", "texts.txt"])
def test_text_becomes_windows(name: str, worded: Path, tmp_path: Path, fabric: Any) -> None:
    from transformers import AutoTokenizer

    sizes = ("--samples", "4", "--length", "32", "--seed", "2")
    given = ("--calibration", worded / name, *sizes)
    assert swq("quantize", worded / "model", *TRAINED, *given, "--out", tmp_path / "out") == 0
    text = (worded / "texts.txt").read_text(encoding="utf-8")
    ids = torch.tensor(AutoTokenizer.from_pretrained(worded / "model")(text)["input_ids"])
    method, loss = library.OmniQuant(epochs=2), {"mse": 0.9, "sw": 0.1}
    drawn = sample_windows(ids, 4, 32, 2)
    wanted = library.quantize(worded / "model", drawn, "w2a16g32", method, loss, seed=2, fabric=fabric)
    assert equal(stored(tmp_path / "out"), wanted.artefact)


def test_a_killed_command_continues(tokens: Path, tmp_path: Path) -> None:
    out, calm = tmp_path / "out", tmp_path / "calm"
    arguments = ("quantize", FOLDER, *TRAINED, "--calibration", tokens, "--threads", "1", "--out")
    assert swq_apart([*arguments, out], KILLED).returncode == -signal.SIGKILL
    assert not out.exists()
    (kept,) = out.with_name(out.name + UNFINISHED).rglob("*.safetensors")
    assert kept.name == "block_000.safetensors"
    done = swq_apart([*arguments, out])
    assert done.returncode == 0 and "1 of 2 blocks are those of a stopped run" in done.stdout, done.stderr
    assert "reconstruct: 100%" in done.stderr, "the bar"
    assert "continuing at block 2 of 2\n" in done.stderr
    assert swq(*arguments, calm) == 0
    for name in ("quantized.safetensors", "recipe.json"):
        assert (out / name).read_bytes() == (calm / name).read_bytes()
    assert not out.with_name(out.name + UNFINISHED).exists()


def test_other_settings_do_not_continue(tokens: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("quantize", FOLDER, *TRAINED, "--calibration", tokens, "--threads", "1", "--out", out)
    swq_apart(arguments, KILLED)
    done = swq_apart([*arguments, "--seed", "1"])
    assert done.returncode == 0 and "stopped run" not in done.stdout and "continuing" not in done.stderr
    assert "unfinished blocks of other settings were removed" in done.stdout
    assert read(out).quantized.recipe.seed == 1 and not out.with_name(out.name + UNFINISHED).exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    said = swq("quantize", FOLDER, "--scheme", "w3a16", "--method", "rtn", "--out", tmp_path)
    assert said == f"error: {tmp_path} is there already and not empty; nothing in it was changed: give another --out"
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_two_processes_do_not_write_one_folder(tmp_path: Path) -> None:
    from swq.files import try_lock

    place = tmp_path / f"out{UNFINISHED}"
    place.mkdir()
    with (place / "lock").open("w") as lock:
        assert try_lock(lock)
        said = swq("quantize", FOLDER, "--scheme", "w3a16", "--method", "rtn", "--out", tmp_path / "out")
    assert "another process is writing" in str(said)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"--scheme": "w9a16"}, "scheme 'w9a16': weights of 9 bits are not supported (allowed: w2, w3, w4, w8)"),
    ({"--scheme": "w9"}, "scheme 'w9' is not of the form w<bits>a16 or w<bits>a16g<group>, e.g. w3a16g64"),
    ({"--scheme": "w3"}, "scheme 'w3' is not of the form"),
    (
        {"--scheme": "w3a16g7", "--calibration": "no.jsonl"},  # which is not looked at yet
        "scheme w3a16g7: groups of 7 do not divide the 64 input channels of model.layers.0.self_attn.q_proj (these fit",
    ),
    ({"--method": "omniqant"}, "did you mean 'omniquant'? (allowed: apiq, awq, gptq, omniquant, rtn, tesseraq)"),
    ({"--method": "fp"}, "(allowed: apiq, awq, gptq, omniquant, rtn, tesseraq)"),
    ({"--method": "rtn"}, "--loss: RTN does not train, so it takes no loss"),
    ({"--set": "epoch=3"}, "unknown setting of omniquant 'epoch'; did you mean 'epochs'? (allowed: aug_loss, epochs"),
    ({"--set": "epochs=three"}, "--set omniquant.epochs: must be a whole number (given: 'three')"),
    ({"--set": "epochs=0"}, "omniquant: epochs is 0; it must be at least 1"),
    ({"--set": "epochs"}, "--set 'epochs' is not of the form NAME=VALUE"),
    ({"--set": "epochs=[1"}, "--set epochs: the value '[1' cannot be read"),
    ({"--set": "aug_loss=perhaps"}, "must be true or false"),
    ({"--set": "loss.n_projection=3"}, "unknown setting of the loss 'n_projection'; did you mean 'n_projections'?"),
    ({"--set": "start.scale=true"}, "unknown setting of omniquant 'start'"),
    ({"--set": "awq.scale=true"}, "unknown part 'awq'"),
    ({"--loss": "mse"}, "--loss 'mse' is not of the form TERM=WEIGHT"),
    ({"--loss": "mse=much"}, "--loss mse: the weight must be a number"),
    ({"--loss": "swd=0.1"}, "unknown loss term 'swd'; did you mean 'sw'?"),
    ({"--loss": "mse=-1"}, "loss weight of mse is -1.0"),
    ({"--precision": "8"}, "unknown --precision '8' (allowed: 16-mixed, 32-true, bf16-mixed)"),
    ({"--precision": "16-mixed", "--device": "cpu"}, "--precision 16-mixed needs a GPU"),
    ({"--device": "tpu"}, "(allowed: auto, cpu, gpu)"),
    ({"--scale-dtype": "int8"}, "(allowed: float16, float32)"),
    ({"--calibration": "no.jsonl"}, "--calibration: there is no file no.jsonl"),
    ({"--calibration": None}, "OmniQuant needs calibration text or tokens: give --calibration"),
    ({"--samples": "4"}, "--samples and --length are for text"),
    ({"model": "nowhere"}, "model 'nowhere' is not a transformers model folder"),
]


@pytest.mark.parametrize(("changes", "said"), BAD)
def test_a_mistake_is_one_line(changes: dict[str, Any], said: str, tokens: Path, tmp_path: Path) -> None:
    given = {
        "model": FOLDER,
        "--scheme": "w2a16g32",
        "--method": "omniquant",
        "--loss": "mse=1",
        "--calibration": tokens,
        "--out": tmp_path / "out",
    } | changes
    options = [part for name, value in given.items() if name != "model" and value is not None for part in (name, value)]
    found = swq("quantize", given["model"], *options)
    assert isinstance(found, str) and found.startswith("error: ") and "\n" not in found and said in found
    assert [path.name for path in tmp_path.iterdir()] == ["tokens.safetensors"], "and leaves nothing"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'{"text": "a"}\n{"txt": "b"}', 'line 2: it is not JSON with a field "text"'),
        ("a.jsonl", b"the text", 'line 1: it is not JSON with a field "text"'),
        ("a.jsonl", b'{"text": 3}', 'line 1: "text" is not text'),
        ("a.txt", b"\xff\xff", "is not UTF-8 at byte 0"),
        ("a.txt", b"the red river", "windows of 2048; 128 were asked for"),
        ("a.json", b"[]", "the name must end in one of .jsonl, .txt, .safetensors"),
        ("a.safetensors", b"no", "is no safetensors file"),
        ("a.safetensors", {"a": torch.zeros(2, 8)}, "must be torch.int64 of shape (samples, tokens)"),
        ("a.safetensors", {"a": torch.zeros(8).long()}, "must be torch.int64 of shape (samples, tokens)"),
        ("a.safetensors", {"a": torch.zeros(1), "b": torch.zeros(1)}, "2 tensors, and none is called tokens"),
        ("a.safetensors", {"a": torch.full((2, 8), 10**6)}, "token 1000000 is none of the model's"),
        ("a.safetensors", {"a": torch.full((2, 8), -1)}, "it holds no tokens, or negative ones"),
    ],
)
def test_a_bad_calibration_is_named(name: str, content: Any, said: str, worded: Path, tmp_path: Path) -> None:
    file = tmp_path / name
    save_file(content, file) if isinstance(content, dict) else file.write_bytes(content)
    found = swq("quantize", worded / "model", *TRAINED, "--calibration", file, "--out", tmp_path / "out")
    assert isinstance(found, str) and "\n" not in found and said in found
    assert not (tmp_path / "out").exists()


def test_the_commands_page_loads_no_large_library() -> None:
    done = swq_apart(["--help"], "import atexit, sys\natexit.register(lambda: print(*sorted(sys.modules)))")
    assert done.returncode == 0 and {"quantize", "export", "inspect"} <= set(done.stdout.split())
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "typer" in loaded and not {"torch", "transformers", "lightning", "bench", "lm_eval"} & loaded
