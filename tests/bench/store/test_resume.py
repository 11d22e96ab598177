"""What a killed stage continues from: to what it belongs, why it is not used, and when it goes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from bench.store.dvc_lock import DVC_LOCK
from bench.store.resume import State, dvc_md5
from bench.store.sweep import sweep
from swq.identity import fingerprint
from swq.pieces import Piece

STAGE = "score@x"
DECIDES: dict[str, Any] = {
    "settings": {"limit": 5, "perplexity": {"seq_len": 64}},
    "model_sha256": "a" * 64,
    "machine": {"threads": 2, "transformers": "5.22.0"},
    "code": {"swq/losses.py": "1", "swq/seeding.py": "2"},
}
OUT = Path("scores/x")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def changed(section: str, **values: Any) -> dict[str, Any]:
    """Return what decides a result, with another value in one section."""
    return DECIDES | {section: DECIDES[section] | values}


def make() -> Piece:
    return {"t": torch.ones(2)}, {"n": 1}


def fail() -> Piece:
    pytest.fail("made again")


def test_finished_piece_is_read_back_and_its_seconds_count() -> None:
    first = State(STAGE, DECIDES)
    tensors, facts = first.piece("a", make)
    assert facts["n"] == 1 and facts["seconds"] >= 0 and first.seconds == 0
    first.pieces.save("b", {}, {"seconds": 2.5})
    first.pieces.save("c", {}, {"seconds": 40.0})
    again = State(STAGE, DECIDES)
    found, same = again.piece("a", fail)
    assert torch.equal(found["t"], tensors["t"]) and same == facts
    again.piece("b", fail)
    assert again.seconds == facts["seconds"] + 2.5, "of what was read back, and of nothing else"


def test_state_belongs_to_everything_that_decides(capsys: pytest.CaptureFixture[str]) -> None:
    State(STAGE, DECIDES).piece("a", make)
    reordered = {name: DECIDES[name] for name in reversed(DECIDES)}
    assert State(STAGE, reordered).pieces.names() == ["a"]
    folder = State(STAGE, reordered).pieces.folder
    assert folder == Path(".resume") / STAGE / fingerprint(DECIDES)[:32]
    assert json.loads((folder / "decides.json").read_text()) == DECIDES
    assert capsys.readouterr().out == "", "nothing was left unused"
    assert State("score@y", DECIDES).pieces.names() == [], "of another stage"
    assert State(STAGE, changed("settings", limit=6)).pieces.names() == []


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (changed("machine", transformers="5.23.0"), "transformers was 5.22.0 and is 5.23.0"),
        (changed("code", **{"swq/losses.py": "3"}), "swq/losses.py was edited"),
        (changed("settings", limit=6), "limit was 5 and is 6"),
        (changed("settings", perplexity={"seq_len": 32}), "perplexity.seq_len was 64 and is 32"),
        (changed("settings", dtype="float32"), "dtype was nothing and is float32"),
        (DECIDES | {"model_sha256": "b" * 64}, "model_sha256 was aaaaaaaa... and is bbbbbbbb..."),
        (
            changed("machine", threads=4, transformers="6") | {"code": {}},
            "swq/losses.py was edited, swq/seeding.py was edited, threads was 2 and is 4 and 1 more",
        ),
    ],
)
def test_why_an_earlier_state_is_not_used(capsys: pytest.CaptureFixture[str], now: dict[str, Any], why: str) -> None:
    State(STAGE, DECIDES).piece("a", make)
    State(STAGE, now)
    said = capsys.readouterr().out
    assert said.startswith(f"note: {STAGE} starts anew") and said.endswith(f": {why}\n")


def test_state_that_holds_nothing_is_no_run_to_continue(capsys: pytest.CaptureFixture[str]) -> None:
    State(STAGE, DECIDES)
    State(STAGE, changed("settings", limit=6))
    assert capsys.readouterr().out == ""


def test_no_reason_is_given_where_something_is_continued(capsys: pytest.CaptureFixture[str]) -> None:
    State(STAGE, changed("settings", limit=6)).piece("a", make)
    State(STAGE, DECIDES).piece("a", make)
    capsys.readouterr()
    State(STAGE, DECIDES)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", json.dumps(changed("settings", limit=9)).encode()])
def test_damaged_reason_is_not_believed(capsys: pytest.CaptureFixture[str], content: bytes) -> None:
    state = State(STAGE, DECIDES)
    state.piece("a", make)
    (state.pieces.folder / "decides.json").write_bytes(content)
    State(STAGE, changed("settings", limit=6))
    assert capsys.readouterr().out.endswith(f"{state.pieces.folder / 'decides.json'} is damaged\n")


def test_piece_of_another_name_or_state_is_not_taken() -> None:
    state, other = State(STAGE, DECIDES), State("score@y", changed("settings", limit=6))
    for name in ("a", "b"):
        state.piece(name, make)
    (state.pieces.folder / "b.safetensors").rename(state.pieces.folder / "a.safetensors")
    with pytest.warns(UserWarning, match="not the piece that was kept under this name"):
        assert state.pieces.load("a") is None
    state.piece("c", make)
    (state.pieces.folder / "c.safetensors").rename(other.pieces.folder / "c.safetensors")
    with pytest.warns(UserWarning, match="it is made again"):
        assert other.pieces.load("c") is None


def test_folder_in_the_place_of_a_file_is_removed() -> None:
    folder = State(STAGE, DECIDES).pieces.folder
    for name in ("a.safetensors", "peak.json", "made.json"):
        (folder / name / "x").mkdir(parents=True)
    state = State(STAGE, DECIDES)
    state.piece("a", make)
    state.made(folder / "a.safetensors")
    assert State(STAGE, DECIDES).pieces.names() == ["a"]


def write_lock(stage: str, out: Path, md5: str) -> None:
    locked = {stage: {"cmd": "true", "outs": [{"path": str(out), "hash": "md5", "md5": md5}]}}
    DVC_LOCK.write_text(yaml.safe_dump({"schema": "2.0", "stages": locked}))


def made_state() -> State:
    """Return the state of a stage that has ended, and whose result DVC has not noted yet."""
    OUT.mkdir(parents=True)
    (OUT / "summary.json").write_text("1")
    state = State(STAGE, DECIDES)
    state.piece("a", make)
    state.made(OUT)
    return state


def test_state_goes_when_the_lock_holds_its_result() -> None:
    made_state()
    State(STAGE, changed("settings", limit=6)).piece("a", make)
    State("score@y", DECIDES).piece("a", make)
    write_lock(STAGE, OUT, dvc_md5(OUT))
    sweep()
    assert [path.name for path in Path(".resume").iterdir()] == ["score@y"], "with all that was left of the stage"


def test_state_stays_until_then() -> None:
    state, md5 = made_state(), dvc_md5(OUT)
    sweep()  # there is no lock
    for stage, out, found in ((STAGE, OUT, "0" * 32), ("score@y", OUT, md5), (STAGE, Path("scores/y"), md5)):
        write_lock(stage, out, found)
        sweep()
    write_lock(STAGE, OUT, md5)
    for content in (b"", DVC_LOCK.read_bytes()[:40], b"\xff", b"[]", b"stages: {score@x: []}", b"[" * 100_000):
        DVC_LOCK.write_bytes(content)
        sweep()
    assert state.pieces.names() == ["a"]


def test_unfinished_state_stays_whatever_the_lock_holds() -> None:
    state = made_state()
    (state.pieces.folder / "made.json").unlink()
    write_lock(STAGE, OUT, dvc_md5(OUT))
    sweep()
    assert state.pieces.names() == ["a"]


@pytest.mark.slow
def test_md5_is_what_dvc_writes_of_a_file_and_of_a_folder() -> None:
    """DVC sorts a folder's files by their whole paths, and keeps what is not ASCII in escapes."""
    commands = ["mkdir -p out/a out/z/y", "echo file > out.txt", ": > out/empty"]
    names = ("a.b", "a/b", "a-b", "z/y/x", "ü", "B")
    commands += [f"echo {number} > out/{name}" for number, name in enumerate(names)]
    stage = {"cmd": commands, "outs": [{"out": {"cache": False}}, {"out.txt": {"cache": False}}]}
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"make": stage}}))
    Path(".dvc").mkdir()
    Path(".dvc/config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    dvc = str(Path(sys.executable).with_name("dvc"))
    done = subprocess.run([dvc, "repro"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    locked = yaml.safe_load(DVC_LOCK.read_text())["stages"]["make"]["outs"]
    assert {out["path"]: out["md5"] for out in locked} == {name: dvc_md5(Path(name)) for name in ("out", "out.txt")}
