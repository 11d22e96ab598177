"""Others' raw files are taken in, and refused by the name of what differs; none replaces another."""

from __future__ import annotations

import json
import lzma
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.__main__ import app
from bench.analysis.collect import collect
from bench.analysis.results import load_results
from bench.config.params import Params, load_params
from bench.runs.import_raw import import_raw
from bench.runs.show import outdated, show
from bench.stages.report import report
from bench.store.items import Item
from bench.store.raw import raw_file, text_in, write_raw
from swq.errors import UserError
from swq.identity import fingerprint
from tests.support import scores, tiny_suite

Edit = Callable[[dict[str, Any]], object]
DOCUMENT = Item("piqa", 0, "h", 0, (-1.0, -2.0))
OTHERS = Path("others/results/tiny/raw")


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """The tiny suite: `others` has all of its cells, and full precision is here too."""
    monkeypatch.chdir(tmp_path)
    values = tiny_suite.params()
    values["protocol"]["tasks"] = ["piqa"]
    tiny_suite.write_params(tmp_path, values)
    params = load_params()
    for key in params.cells:
        scores.write_scores(params, key, [DOCUMENT])
    collect(params)
    OTHERS.parent.mkdir(parents=True)
    raw_file("tiny", "tiny-fp").parent.rename(OTHERS)
    for folder in ("scores", "artefacts"):
        shutil.rmtree(folder)
    raw_file("tiny", "tiny-fp").parent.mkdir()
    shutil.copy(OTHERS / "tiny-fp.json.xz", raw_file("tiny", "tiny-fp"))
    return params


def edited(key: str, edit: Edit) -> Path:
    """Change one of the others' files, which stays valid, and return it."""
    path = OTHERS / f"{key}.json.xz"
    data = json.loads(text_in(path))
    edit(data)
    made = data["records"]["reconstruct"]
    made["identity"] = fingerprint(made["made_with"])
    write_raw(path, json.dumps(data).encode())
    return path


def test_a_folder_is_taken_in(params: Params) -> None:
    report(params)
    said, refused = import_raw(params, [Path("others")])
    here = "tiny-fp: is there already"
    assert refused == [] and set(said) == {here} | {f"{key}: imported" for key in params.cells if key != "tiny-fp"}
    for path in OTHERS.iterdir():
        assert raw_file("tiny", path.name.split(".")[0]).read_bytes() == path.read_bytes()
    assert load_results(params).keys() == params.cells.keys()
    new = [key for key in params.cells if key != "tiny-fp"]
    assert outdated(params) == ([], new, []), "they are done, and only the tables do not show them yet"
    assert "`python -m bench report` adds what has come since: tiny-rtn, tiny-omniquant, " in show(params)
    assert "not run" not in report(params) and outdated(params) == ([], [], [])


REFUSED: list[tuple[str, Edit, str]] = [
    ("recipe", lambda d: made(d)["recipe"].update(seed=3), "another recipe: recipe.seed is 3, and params.yaml has 2"),
    ("model", lambda d: made(d)["model"].update(path="x"), "another model: model.path is 'x', and params.yaml has 'in"),
    ("calibration", lambda d: made(d)["calibration"].update(n_samples=5), "another calibration: calibration.n_samples"),
    ("protocol", lambda d: scored(d)["protocol"].update(limit=6), "another protocol: protocol.limit is 6, and params"),
    ("corpus", lambda d: scored(d).update(corpus={}), "another corpus: corpus.source is none, and params.yaml"),
    (
        "data",
        lambda d: d["summary"].update(protocol_sha256="q"),
        "another protocol: its texts, tasks or their versions",
    ),
    ("weights", lambda d: d["summary"].update(model_sha256="n"), "another model: its weights of tiny are not those of"),
    ("cell", lambda d: d.update(cell="tiny-new"), "suite tiny has no such cell: 'tiny-new'"),
    ("field", lambda d: d["items"][0].pop("gold"), "is no raw file of a cell, or damaged: items.0.gold"),
    ("documents", lambda d: d["items"][0].update(doc_hash="x"), "other documents or windows than tiny-fp"),
    ("answers", lambda d: d["items"][0]["log_likelihoods"].append(-99.0), "other documents or windows than tiny-fp"),
]


def made(data: dict[str, Any]) -> dict[str, Any]:
    return data["records"]["reconstruct"]["made_with"]


def scored(data: dict[str, Any]) -> dict[str, Any]:
    return data["records"]["score"]["scored_with"]


@pytest.mark.parametrize(("edit", "why"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_differs_is_named_and_stops_no_other(params: Params, edit: Edit, why: str) -> None:
    before = raw_file("tiny", "tiny-fp").read_bytes()
    bad = edited("tiny-omniquant", edit)
    said, refused = import_raw(params, [bad, OTHERS / "tiny-rtn.json.xz"])
    assert said == ["tiny-rtn: imported"] and len(refused) == 1
    assert refused[0].startswith(str(bad)) and why in refused[0] and len(refused[0].splitlines()) == 1
    there = {path.name for path in raw_file("tiny", "x").parent.iterdir()}
    assert there == {"tiny-fp.json.xz", "tiny-rtn.json.xz"}
    assert raw_file("tiny", "tiny-fp").read_bytes() == before


def test_another_measurement_of_a_cell_replaces_none(params: Params) -> None:
    bad = edited("tiny-fp", lambda d: d["records"]["score"].update(wall_seconds=9.0))
    before = raw_file("tiny", "tiny-fp").read_bytes()
    said, refused = import_raw(params, [bad])
    assert said == [] and "cell tiny-fp already has another raw file, results/tiny/raw/tiny" in refused[0]
    assert raw_file("tiny", "tiny-fp").read_bytes() == before


def test_windows_that_the_others_lack_are_named(params: Params) -> None:
    def double(data: dict[str, Any]) -> None:
        data["window_losses"]["perplexity"] *= 2

    bad = edited("tiny-omniquant", double)
    assert "other documents or windows than tiny-fp" in import_raw(params, [bad])[1][0]


def test_the_same_content_is_there_already(params: Params) -> None:
    """Also in other bytes, as another compressor may have written them."""
    theirs = OTHERS / "tiny-fp.json.xz"
    theirs.write_bytes(lzma.compress(text_in(theirs), preset=0, check=lzma.CHECK_CRC32))
    before = raw_file("tiny", "tiny-fp").read_bytes()
    assert theirs.read_bytes() != before
    assert import_raw(params, [theirs]) == (["tiny-fp: is there already"], [])
    assert raw_file("tiny", "tiny-fp").read_bytes() == before


def test_two_of_the_others_must_fit_together(params: Params) -> None:
    """Nothing is here, so the first one decides."""
    raw_file("tiny", "tiny-fp").unlink()
    edited("tiny-rtn", lambda d: d["summary"].update(protocol_sha256="q"))
    said, refused = import_raw(params, [OTHERS / "tiny-fp.json.xz", OTHERS / "tiny-rtn.json.xz"])
    assert said == ["tiny-fp: imported"] and "another protocol" in refused[0] and "those of tiny-fp" in refused[0]


def test_place_without_raw_files_is_named(params: Params) -> None:
    Path("empty").mkdir()
    for path in (Path("empty"), Path("nowhere")):
        with pytest.raises(UserError, match=f"^{path}: there is no raw file of a cell here"):
            import_raw(params, [path])


def test_command_says_what_came_and_what_was_refused(params: Params) -> None:
    edited("tiny-rtn", lambda d: scored(d)["protocol"].update(limit=6))
    done = CliRunner().invoke(app, ["import", "others"])
    assert isinstance(done.exception, UserError) and "tiny-omniquant-sw: imported" in done.stdout
    assert str(done.exception) == "1 of 5 files were refused"
    assert "refused: others/results/tiny/raw/tiny-rtn.json.xz: cell" in done.stderr
    again = CliRunner().invoke(app, ["import", str(OTHERS / "tiny-fp.json.xz")])
    assert again.exit_code == 0 and again.stdout.startswith("tiny-fp: is there already")
