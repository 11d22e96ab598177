"""What a report makes of scores: rows of seeds, cells that were not run, or diverged, or were scored otherwise."""

from __future__ import annotations

import copy
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.analysis.collect import collect
from bench.analysis.compare import recovered_by
from bench.analysis.results import load_results
from bench.analysis.rows import measured, rows_of
from bench.config.labels import labels
from bench.config.params import Params, load_params
from bench.report.tables.quality import quality_table
from bench.report.tables.recovered import recovery_table
from bench.runs.show import outdated, show
from bench.stages.report import report
from bench.store.items import Item
from bench.store.raw import raw_file
from swq.errors import UserError
from tests.support import scores, tiny_suite


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """The tiny suite in the current folder, nothing of it run."""
    monkeypatch.chdir(tmp_path)
    tiny_suite.write_params(tmp_path, tiny_suite.params())
    return load_params()


DOCUMENT = Item("piqa", 0, "h", 0, (-1.0, -2.0))


def write_scores(params: Params, key: str, protocol: str = "p", doc_hash: str = "h") -> None:
    """Write scores of one document."""
    scores.write_scores(params, key, [replace(DOCUMENT, doc_hash=doc_hash)], protocol=protocol)


def page() -> str:
    """The page that a report left."""
    return Path("results/tiny/table.md").read_text(encoding="utf-8")


def test_table_refuses_to_mix_protocols(params: Params) -> None:
    for key in params.cells:
        write_scores(params, key, protocol="other" if key == "tiny-rtn" else "p")
    collect(params)
    with pytest.raises(UserError, match=r"different protocols .*other: tiny-rtn"):
        load_results(params)


def test_table_refuses_to_mix_weights(params: Params) -> None:
    for key in params.cells:
        scores.write_scores(params, key, [DOCUMENT], model="other" if key == "tiny-rtn" else "m")
    collect(params)
    with pytest.raises(UserError, match=r"different weights of model tiny .*other: tiny-rtn"):
        load_results(params)


UNTRAINED = {"tiny-fp", "tiny-rtn"}


@pytest.mark.parametrize(
    ("section", "change", "left"),
    [
        (("cells", "tiny-rtn"), {"scale_dtype": "float32"}, set(tiny_suite.params()["cells"]) - {"tiny-rtn"}),
        (("calibrations", "tiny-4x32"), {"seed": 3}, UNTRAINED),
        (("models", "tiny"), {"path": "inputs/other"}, set()),
        (("protocol",), {"limit": 4}, set()),
    ],
)
def test_scores_of_an_older_configuration_count_as_not_run(
    params: Params, section: tuple[str, ...], change: dict[str, Any], left: set[str]
) -> None:
    for key in params.cells:
        write_scores(params, key)
    collect(params)
    values = tiny_suite.params()
    part = values
    for name in section:
        part = part[name]
    part |= change
    tiny_suite.write_params(Path(), values)
    edited = load_params()
    assert load_results(edited).keys() == left
    assert recovered_by(edited, load_results(edited), ("tiny-omniquant",)) is None, "its base is not there"


def test_rows_that_look_alike_get_their_key(params: Params) -> None:
    values = tiny_suite.params()
    values["cells"]["tiny-omniquant-3"] = copy.deepcopy(values["cells"]["tiny-omniquant"])
    values["cells"]["tiny-omniquant-3"]["method"]["epochs"] = 3
    tiny_suite.write_params(Path(), values)
    called = labels(load_params())
    assert called["tiny-omniquant"] == "OmniQuant (omniquant)"
    assert called["tiny-omniquant-3"] == "OmniQuant (omniquant-3)"
    assert [called[f"tiny-{name}"] for name in ("fp", "rtn", "omniquant-sw")] == ["FP", "RTN", "OmniQuant + SW"]


def test_seeds_are_one_row(params: Params) -> None:
    """Three seeds of OmniQuant, of which two were run and one of these diverged."""
    values = tiny_suite.params()
    for seed in (7, 8):
        values["cells"][f"tiny-omniquant-s{seed}"] = tiny_suite.of_seed(values, "tiny-omniquant", seed)
        values["report"]["baselines"][f"tiny-omniquant-s{seed}"] = "tiny-rtn"
    values["protocol"]["tasks"] = ["piqa"]
    tiny_suite.write_params(Path(), values)
    edited = load_params()
    for key in set(edited.cells) - {"tiny-omniquant-s8"}:
        write_scores(edited, key)
    scores.diverge_on_text("tiny-omniquant-s7")
    collect(edited)
    results = load_results(edited)
    row = next(row for row in rows_of(edited, results) if row.label == "OmniQuant")
    assert row.keys == ("tiny-omniquant", "tiny-omniquant-s7", "tiny-omniquant-s8") and row.name == "tiny-omniquant"
    assert row.recovered is not None and row.recovered["accuracy"].n_seeds == 1, "of those that did not diverge"
    report(edited)
    text = page()
    assert re.search(r"\| OmniQuant +\| w3a16g32 \| 2 of 3 +\| +diverged \|", text)
    assert re.search(r"\| OmniQuant +\| w3a16g32 \| 1 of 3, provisional +\| RTN ", text)
    assert "Diverged, and left out of all comparisons: OmniQuant w3a16g32 (1 of 3)." in text


def test_recovery_refuses_different_documents(params: Params) -> None:
    for key in params.cells:
        write_scores(params, key, doc_hash="x" if key == "tiny-rtn" else "h")
    collect(params)
    with pytest.raises(UserError, match="scored on different documents"):
        measured(params)


def test_report_of_nothing_says_so_in_a_line_for_each_model_and_scheme(params: Params) -> None:
    with pytest.raises(UserError, match=r"no results/tiny/table.md yet; `python -m bench run` makes it"):
        show(params)
    report(params)
    rows = [line for line in show(params).splitlines() if line.startswith("| tiny ")]
    assert len(rows) == 2 and "| FP " in rows[0] and "`python -m bench run --model tiny`" in rows[0]
    assert re.search(
        r"\| w3a16g32 +\| RTN, OmniQuant, .* \| +4 \| `python -m bench run --model tiny --scheme w3a16g32`", rows[1]
    )
    assert "5 of 5 cells were not run" in page() and "## Quality" not in page()


def test_shown_tables_say_what_params_yaml_left_behind(params: Params) -> None:
    one_task = {"protocol": params.protocol.model_copy(update={"tasks": ("piqa",)})}
    params = params.model_copy(update=one_task)
    for key in params.cells:
        write_scores(params, key)
    report(params)
    assert outdated(params) == ([], [], []) and "note:" not in show(params)
    edited = params.cells["tiny-rtn"].model_copy(update={"scale_dtype": "float32"})
    changed = params.model_copy(update={"cells": params.cells | {"tiny-rtn": edited, "tiny-new": edited}})
    assert outdated(changed) == (["tiny-rtn"], [], ["tiny-new"])
    assert "older than params.yaml; `python -m bench run` runs again: tiny-rtn\n" in show(changed)
    assert "`python -m bench run --missing` runs what was not run: tiny-new\n" in show(changed)
    scored = params.model_copy(update={"protocol": params.protocol.model_copy(update={"limit": 4})})
    assert show(scored).count("tiny-omniquant and 2 more") == 1


def test_cell_that_diverged_is_shown_and_compared_with_nothing(params: Params) -> None:
    one_task = params.model_copy(update={"protocol": params.protocol.model_copy(update={"tasks": ("piqa",)})})
    for key in params.cells:
        write_scores(one_task, key)
    scores.diverge_on_items("tiny-rtn")
    collect(one_task)
    suite = measured(one_task)
    compared = {row.keys[0] for row in suite.rows if row.recovered}
    assert compared == {"tiny-omniquant-sw", "tiny-tesseraq-sw"}, "tiny-omniquant's base is not finite"
    line = next(line for line in quality_table(suite).markdown().splitlines() if line.startswith("| RTN"))
    assert line.count("diverged") == 3


def test_row_that_departs_from_its_recipe_is_marked(params: Params) -> None:
    one_task = params.model_copy(update={"protocol": params.protocol.model_copy(update={"tasks": ("piqa",)})})
    for key in params.cells:
        write_scores(one_task, key)
    scores.note_retry("tiny-omniquant", **{"1": "the loss became nan", "4": "the loss became inf"})
    report(one_task)
    lines = [line for line in page().splitlines() if re.match(r"\| OmniQuant [^+]", line)]
    assert lines and all(line.startswith("| OmniQuant † ") for line in lines), "in every table"
    assert page().count(" † ") == len(lines), "and no other row"
    assert "† departs from its recipe" in page() and "(tiny-omniquant: block 1, 4)" in page()


def test_report_of_a_part_names_what_is_missing(params: Params) -> None:
    one_task = params.model_copy(update={"protocol": params.protocol.model_copy(update={"tasks": ("piqa",)})})
    for key in ("tiny-fp", "tiny-rtn", "tiny-omniquant"):
        write_scores(one_task, key)
    report(one_task)
    assert {row.keys[0] for row in measured(one_task).rows if row.recovered} == {"tiny-omniquant"}
    text = page()
    assert "2 of 5 cells were not run" in text and "| OmniQuant + SW, TesseraQ" in text.split("## What was not run")[1]


def test_empty_report_replaces_no_results(params: Params) -> None:
    one_task = params.model_copy(update={"protocol": params.protocol.model_copy(update={"tasks": ("piqa",)})})
    write_scores(one_task, "tiny-fp")
    assert report(one_task).endswith("(4 of 5 cells were not run)")
    kept = Path("results/tiny/table.md").read_text()
    shutil.rmtree("scores")
    shutil.rmtree("results/tiny/raw")
    with pytest.raises(UserError, match=r"no cell of suite tiny was run here .* results in results/tiny are kept"):
        report(one_task)
    assert Path("results/tiny/table.md").read_text() == kept


def one_task_scored(params: Params) -> Params:
    """The suite with one task, every cell scored."""
    one_task = params.model_copy(update={"protocol": params.protocol.model_copy(update={"tasks": ("piqa",)})})
    for key in one_task.cells:
        write_scores(one_task, key)
    return one_task


def raw_bytes() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path("results/tiny/raw").iterdir()}


def test_raw_file_of_an_edited_cell_is_kept_and_counts_again(
    params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = one_task_scored(params)
    report(suite)
    before, shown = raw_bytes(), page()
    for folder in ("scores", "artefacts"):
        shutil.rmtree(folder)
    cell = suite.cells["tiny-rtn"].model_copy(update={"scale_dtype": "float32"})
    edited = suite.model_copy(
        update={"cells": {k: v for k, v in suite.cells.items() if k != "tiny-fp"} | {"tiny-rtn": cell}}
    )
    edited = edited.model_copy(update={"report": edited.report.model_copy(update={"baselines": {}})})
    capsys.readouterr()
    assert report(edited).endswith("(1 of 4 cells were not run)")
    assert "it is kept: tiny-fp.json.xz, tiny-rtn.json.xz\n" in capsys.readouterr().out
    assert raw_bytes() == before
    report(suite)
    assert page() == shown and raw_bytes() == before and "kept" not in capsys.readouterr().out


def test_raw_file_of_a_cell_that_was_measured_again_is_moved_away(
    params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = one_task_scored(params)
    report(suite)
    before = raw_bytes()
    report(suite)
    assert raw_bytes() == before and not Path(".replaced").exists(), "the same scores are the same file"
    scores.write_scores(suite, "tiny-rtn", [DOCUMENT], perplexity=3.0)
    capsys.readouterr()
    report(suite)
    (moved,) = Path(".replaced/tiny").iterdir()
    assert re.fullmatch(r"tiny-rtn\.[0-9a-f]{12}\.json\.xz", moved.name)
    assert moved.read_bytes() == before["tiny-rtn.json.xz"] != raw_bytes()["tiny-rtn.json.xz"]
    said = "note: measured again: tiny-rtn; the raw files of before are now in .replaced/tiny"
    assert said in capsys.readouterr().out and "3.00" in page()


def test_raw_file_in_the_place_of_another_is_refused(params: Params) -> None:
    suite = one_task_scored(params)
    collect(suite)
    shutil.copy(raw_file("tiny", "tiny-fp"), raw_file("tiny", "tiny-rtn"))
    with pytest.raises(UserError, match=r"raw/tiny-rtn\.json\.xz is that of another cell, 'tiny-fp'"):
        load_results(suite)
    report(suite)
    assert load_results(suite).keys() == suite.cells.keys(), "scores that are here make it again"


def test_cells_that_leave_the_tables_for_want_of_a_raw_file_are_named(
    params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in results that were committed before raw files were, of which one cell is run again."""
    suite = one_task_scored(params)
    report(suite)
    for folder in ("scores", "artefacts", "results/tiny/raw"):
        shutil.rmtree(folder)
    write_scores(suite, "tiny-fp")
    report(suite)
    assert "have no raw file and now stand there as not run: tiny-rtn, tiny-omniquant, " in capsys.readouterr().out


def test_minutes_are_those_of_cells_that_ran_in_one_go(params: Params) -> None:
    values = tiny_suite.params()
    values["protocol"]["tasks"] = ["piqa"]
    for seed in (7, 8):
        values["cells"][f"tiny-omniquant-s{seed}"] = tiny_suite.of_seed(values, "tiny-omniquant", seed)
        values["report"]["baselines"][f"tiny-omniquant-s{seed}"] = "tiny-rtn"
    tiny_suite.write_params(Path(), values)
    suite = load_params()
    for key in suite.cells:
        write_scores(suite, key)
    scores.note_resumed("tiny-omniquant-s7", 100.0, 5999.0)
    scores.note_resumed("tiny-omniquant-sw", 100.0, 599.0)
    collect(suite)
    table = recovery_table(measured(suite))
    minutes = {row[0]: row[table.headers.index("minutes")] for row in table.rows}
    assert minutes["OmniQuant"] == "0.0 *" and minutes["RTN"] == "0.0", "of two cells of two seconds"
    assert minutes["OmniQuant + SW"] == "10.0 *", "of the only one, all its runs together"
