"""Raw files: what is written is read again, the same content is the same bytes, and a wrong file is named."""

from __future__ import annotations

import copy
import json
import lzma
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from bench.store.items import Item
from bench.store.raw import parse, read_raw, text_in, text_of, write_raw
from swq.errors import UserError
from swq.identity import fingerprint

COST = {"wall_seconds": 1.5, "peak_memory_bytes": {"host": 7}}
MADE_WITH = {"model": {"source": "folder"}, "recipe": {"seed": 2}}
MADE = {"cell": "c", "identity": fingerprint(MADE_WITH), "made_with": MADE_WITH, "bits_per_weight": None}
ITEMS = [Item("piqa", 0, "h", 1, (-1.0, -2.0)), Item("piqa", 1, "i", 0, (-0.1 - 0.2, -1e-300))]
MEASURED: dict[str, Any] = {
    "cell": "c",
    "records": {"reconstruct": MADE | COST, "score": {"scored_with": {"protocol": {}}, "device": "cpu"} | COST},
    "summary": {
        "protocol_sha256": "p",
        "model_sha256": "m",
        "perplexity": {"text": 1.3498588075760032},
        "diverged": False,
        "tasks": {"piqa": {"acc": 0.0, "margin": -0.65, "n_items": 2, "more": [1]}},
    },
    "window_losses": {"text": [0.1 + 0.2, 0.3]},
    "block_losses": [{"block": 0, "epoch": 0, "loss": 0.1}, {"block": 0, "epoch": 1, "loss": 0.05, "sw": None}],
    "items": [asdict(item) for item in ITEMS],
}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """To the last bit, and with what this version does not know of a record or a summary."""
    write_raw(tmp_path / "c.json.xz", text_of(MEASURED, "c"))
    raw = read_raw(tmp_path / "c.json.xz")
    assert raw.cell == "c" and raw.items == ITEMS and raw.schema_version == 1
    assert raw.window_losses == MEASURED["window_losses"] and raw.block_losses == MEASURED["block_losses"]
    for name in ("records", "summary"):
        assert getattr(raw, name).model_dump(exclude_unset=True) == json.loads(json.dumps(MEASURED[name]))
    as_others_read_it = json.loads(lzma.decompress((tmp_path / "c.json.xz").read_bytes()))
    assert as_others_read_it["items"][0]["gold"] == 1


def test_same_content_has_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_raw(tmp_path / name, text_of(copy.deepcopy(MEASURED), name))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert text_in(tmp_path / "a") == text_of(MEASURED, "c")


Edit = Callable[[dict[str, Any]], object]
WRONG: list[tuple[Edit, str]] = [
    (lambda d: d.update(schema_version=2), "schema_version: Input should be 1"),
    (lambda d: d.update(plan={}), "plan: Extra inputs are not permitted"),
    (lambda d: d.pop("items"), "items: Field required"),
    (lambda d: d["items"][1].update(gold=2), "items.1.gold is not one of its choices"),
    (lambda d: d["items"][1].update(gold="0"), "items.1.gold: Input should be a valid integer"),
    (lambda d: d["items"][0].update(note=""), "items.0.note: "),
    (lambda d: d["items"][0].pop("doc_hash"), "items.0.doc_hash: "),
    (lambda d: d["items"][0].update(task="boolq"), "summary has the tasks ['piqa'], and the values are of"),
    (lambda d: d["items"][0].update(gold=0), "summary.tasks.piqa.acc is not that of items"),
    (lambda d: d["items"].pop(), "summary.tasks.piqa.n_items is not that of items"),
    (lambda d: d["items"][0].update(log_likelihoods=[None, -1.0]), "summary.diverged is false, but"),
    (lambda d: d["summary"].update(diverged=True), "summary.diverged is true, but every value is finite"),
    (
        lambda d: d["summary"].update(diverged=True, perplexity={"text": None}),
        "summary.perplexity.text is missing, but window_losses.text are finite",
    ),
    (lambda d: d["summary"]["tasks"]["piqa"].update(margin=-1.5), "summary.tasks.piqa.margin is not that of items"),
    (lambda d: d["summary"]["tasks"]["piqa"].update(acc=None), "summary.tasks.piqa has no means where its items have"),
    (lambda d: d["window_losses"].update(text=[0.3, 0.4]), "summary.perplexity.text is not that of window_losses"),
    (lambda d: d["window_losses"].update(text=[0.3, None]), "summary.perplexity.text is not that of window_losses"),
    (lambda d: d["window_losses"].update(text=[]), "window_losses.text: List should have at least 1 item"),
    (lambda d: d["window_losses"].update(other=[0.3]), "summary has the texts ['text']"),
    (lambda d: d["block_losses"][0].update(loss="0.1"), "block_losses.0.loss: Input should be a valid number"),
    (lambda d: d["summary"].pop("model_sha256"), "summary.model_sha256: Field required"),
    (lambda d: d["records"]["score"].pop("scored_with"), "records.score.scored_with: Field required"),
    (lambda d: d["records"]["reconstruct"]["made_with"]["recipe"].update(seed=3), "identity is not that of made_with"),
]


@pytest.mark.parametrize(("edit", "said"), WRONG, ids=[said for _, said in WRONG])
def test_wrong_file_is_refused_by_its_field(edit: Edit, said: str, tmp_path: Path) -> None:
    data = json.loads(text_of(MEASURED, "c"))
    edit(data)
    write_raw(tmp_path / "c.json.xz", json.dumps(data).encode())
    with pytest.raises(UserError) as error:
        read_raw(tmp_path / "c.json.xz")
    assert f"{tmp_path / 'c.json.xz'} is no raw file of a cell, or damaged: " in str(error.value)
    assert said in str(error.value) and len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("text", [b"", b"[]", b"NaN", b'{"a": ', b"[" * 100_000, text_of(MEASURED, "c")[:-1]])
def test_what_is_no_json_of_a_cell_is_refused(text: bytes) -> None:
    with pytest.raises(UserError, match=r"^file is no raw file of a cell, or damaged: .") as error:
        parse(text, "file")
    assert len(str(error.value).splitlines()) == 1


def test_number_that_is_not_finite_is_refused() -> None:
    for before, after in ((b'"loss":0.1', b'"loss":NaN'), (b"[-1.0,-2.0]", b"[-1.0,-Infinity]")):
        text = text_of(MEASURED, "c")
        assert before in text
        with pytest.raises(UserError, match="finite"):
            parse(text.replace(before, after), "file")


def test_file_that_is_cut_off_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.json.xz"
    write_raw(path, text_of(MEASURED, "c"))
    whole = path.read_bytes()
    for content in (whole[:-9], whole[:100] + b"\0" + whole[101:], b"", b"{}"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"c\.json\.xz is no raw file of a cell, or damaged: "):
            read_raw(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match=r"c\.json\.xz is no raw file of a cell, or damaged: "):
        read_raw(path)
