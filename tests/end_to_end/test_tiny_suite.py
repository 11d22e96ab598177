"""The whole pipeline under DVC on a tiny random model, as a user runs it: nothing is replaced by a stand-in.

Commands run in interpreters that are warm (tests/support/warm_python.py), but for those that are compared with them
byte by byte: these are started as a user's are.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.report.plots import PLOTS
from bench.report.tables import TABLES
from tests.support import tiny_suite
from tests.support.project import Project, copy_project, ran
from tests.support.warm_python import warm_python

STAGES = ("validate", "fetch-model", "fetch-corpus", "calibrate", "reconstruct", "compare", "score", "report")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A copy of the project with the tiny suite, run once."""
    folder = tmp_path_factory.mktemp("project")
    copy_project(folder)
    tiny_suite.write_inputs(folder)
    tiny_suite.write_params(folder, tiny_suite.params())
    given = os.environ | {"PYTHONPATH": "", "HF_HUB_OFFLINE": "1", "DVC_NO_ANALYTICS": "1"}
    with warm_python(given) as environment:
        made = Project(folder, environment)
        (folder / "first_run.txt").write_text(made.repro())
        yield made


def test_every_stage_runs(project: Project) -> None:
    stages = ran((project.folder / "first_run.txt").read_text())
    assert {stage.split("@")[0] for stage in stages} == set(STAGES)
    assert {f"score@{key}" for key in tiny_suite.params()["cells"]} <= stages


def test_results_hold_every_cell(project: Project) -> None:
    results = project.folder / "results/tiny"
    required = {
        "table.md",
        "metrics.json",
        "cells.json",
        "provenance.json",
        "report.html",
        "SHA256SUMS",
        "sw_effect.tex",
        "sw_share.tex",
        *(f"{table}.{form}" for table in ("quality", "recovered", "changed") for form in ("csv", "tex")),
        *(f"{plot}.{form}" for plot in ("recovered", "bits", "losses") for form in ("png", "svg")),
    }
    raw = {path.name for path in (results / "raw").iterdir()}
    assert raw == {f"{key}.json.xz" for key in tiny_suite.params()["cells"]}
    optional = (
        {"raw"} | {f"{table}.tex" for table in TABLES} | {f"{plot}.{form}" for plot in PLOTS for form in ("png", "svg")}
    )
    assert required <= {path.name for path in results.iterdir()} <= required | optional
    table = (results / "table.md").read_text()
    assert all(
        f"| {label} " in table for label in ("FP", "RTN", "OmniQuant", "OmniQuant + SW", "TesseraQ (from AWQ) + SW")
    )
    assert "**Accuracy decides little here:** 25 items determine" in table
    metrics, cells = (json.loads((results / f"{name}.json").read_text()) for name in ("metrics", "cells"))
    assert list(metrics) == list(cells) == list(tiny_suite.params()["cells"])
    assert cells["tiny-rtn"]["bits_per_weight"] == pytest.approx(3 + (16 + 3) / 32)
    fp, rtn = (metrics[f"tiny-{name}"]["perplexity_perplexity"] for name in ("fp", "rtn"))
    assert fp < 2 * rtn


def test_every_result_says_where_it_came_from(project: Project) -> None:
    metrics = json.loads((project.folder / "results/tiny/cells.json").read_text())
    provenance = json.loads((project.folder / "results/tiny/provenance.json").read_text())
    header = json.loads((project.folder / "data/corpora/words/manifest.json").read_text())
    assert len({cell["protocol_sha256"] for cell in metrics.values()}) == 1
    for key, record in provenance.items():
        made, scored = record["reconstruct"], record["score"]
        assert made["model_sha256"] == metrics[key]["model_sha256"]
        assert len(made["calibration_sha256"]) == 64 and made["device"] == scored["device"] == "cpu"
        assert made["seed"] == tiny_suite.params()["cells"][key].get("seed", 0)
        assert scored["corpus"] == header and set(scored["task_versions"]) == set(
            tiny_suite.params()["protocol"]["tasks"]
        )
        for stage in (made, scored):
            assert stage["provenance"]["threads"] == 1 and stage["peak_memory_bytes"]["host"] > 0
            assert stage["wall_seconds"] > 0 and stage["provenance"]["libraries"]["torch"]
            assert stage["provenance"]["git_commit"] is None, "the test's project is no git repository"


def test_overlapping_passage_is_removed(project: Project) -> None:
    manifest = json.loads((project.folder / "data/corpora/words/manifest.json").read_text())
    assert manifest["calibration_passages_removed_for_overlap_with"]["perplexity"] == 1
    assert manifest["passages"]["calibration"] == 20


def test_trained_cells_leave_their_losses(project: Project) -> None:
    rows = (project.folder / "artefacts/tiny-omniquant-sw/losses.csv").read_text().splitlines()
    assert rows[0] == "block,epoch,loss,mse,sw,mse_grad_share,sw_grad_share"
    assert len(rows) == 1 + 2 * 2  # two blocks, two epochs
    rounds = (project.folder / "artefacts/tiny-tesseraq-sw/losses.csv").read_text().splitlines()
    assert rounds[0] == "block,epoch,loss,l2,sw,l2_grad_share,sw_grad_share"
    assert len(rounds) == 1 + 2 * 2  # two blocks, two rounds
    for first, last in (rows[1:3], rows[3:5], rounds[1:3], rounds[3:5]):
        assert first.endswith(",,") and not last.endswith(","), "the gradient's shares are measured in the last epoch"
    left = {path.name for path in (project.folder / ".resume").iterdir()}
    assert left <= {f"score@{key}" for key in tiny_suite.params()["cells"]}, "the last state goes when a command looks"


def test_second_run_recomputes_nothing_and_one_edit_re_runs_one_cell(project: Project) -> None:
    assert ran(project.repro()) == set()
    values = tiny_suite.params()
    values["cells"]["tiny-rtn"]["scale_dtype"] = "float32"
    tiny_suite.write_params(project.folder, values)
    try:
        again = {"validate", "reconstruct@tiny-rtn", "compare@tiny-omniquant", "score@tiny-rtn", "report@tiny"}
        assert ran(project.repro()) == again, "a base was made again, so what is compared with it is compared again"
    finally:
        tiny_suite.write_params(project.folder, tiny_suite.params())


def test_reconstruct_is_byte_identical_and_resumes_after_a_kill(project: Project) -> None:
    """A second run of a cell writes the same bytes: alone, killed after its first block, its keys in another order."""
    artefacts = project.folder / "artefacts/tiny-omniquant-sw"
    names = ("quantized.safetensors", "learned.safetensors", "losses.csv")
    before = {name: (artefacts / name).read_bytes() for name in names}
    shutil.rmtree(artefacts)
    tiny_suite.write_params(project.folder, reordered(tiny_suite.params()))
    kill_after_one_block = (
        "import os; from swq.pieces import Pieces; save = Pieces.save;"
        "Pieces.save = lambda *a: (save(*a), os._exit(9));"
        "import sys; sys.argv = ['bench', 'reconstruct', 'tiny-omniquant-sw'];"
        "from bench.__main__ import main; main()"
    )
    assert project.run(sys.executable, "-c", kill_after_one_block).returncode == 9
    kept = (project.folder / ".resume/reconstruct@tiny-omniquant-sw").glob("*/*.safetensors")
    assert [path.name for path in kept] == ["block_000.safetensors"]
    assert not artefacts.exists() or not list(artefacts.iterdir())
    done = project.cold("reconstruct", "tiny-omniquant-sw")
    tiny_suite.write_params(project.folder, tiny_suite.params())
    assert done.returncode == 0, done.stderr
    assert "note: reconstruct@tiny-omniquant-sw continues from block 2 of 2 blocks" in done.stdout
    assert {name: (artefacts / name).read_bytes() for name in names} == before


def reordered(value: Any) -> Any:
    """Return a configuration with every mapping's keys in reverse order."""
    return {key: reordered(value[key]) for key in reversed(value)} if isinstance(value, dict) else value


def test_scores_are_byte_identical(project: Project) -> None:
    scores = project.folder / "scores/tiny-omniquant-sw"
    names = ("items.jsonl", "token_losses/perplexity.npy", "summary.json")
    before = {name: (scores / name).read_bytes() for name in names}
    done = project.cold("score", "tiny-omniquant-sw")
    assert done.returncode == 0, done.stderr
    assert {name: (scores / name).read_bytes() for name in names} == before


def test_inputs_and_results_are_byte_identical(project: Project) -> None:
    """What the other stages make, by one interpreter that is started for them as a user's is."""

    def contents() -> dict[str, bytes]:
        files = [path for place in ("data", "results") for path in (project.folder / place).rglob("*")]
        return {str(path.relative_to(project.folder)): path.read_bytes() for path in files if path.is_file()}

    lines = ("fetch-model tiny", "fetch-corpus words", "calibrate tiny-4x32", "report")
    for line in lines:  # the report says how long cells took, which tests before this one may have changed
        assert project.bench(*line.split()).returncode == 0
    before = contents()
    done = project.cold_together(*lines)
    assert done.returncode == 0, done.stderr
    assert contents() == before and "results/tiny/table.md" in before


def test_raw_files_alone_make_the_same_report(project: Project) -> None:
    """What a fresh clone has: params.yaml, conf/ and results/, but no data, artefacts or scores."""
    aside = [project.folder / name for name in ("data", "artefacts", "scores")]
    results = project.folder / "results/tiny"

    def contents() -> dict[str, bytes]:
        return {str(path.relative_to(results)): path.read_bytes() for path in results.rglob("*") if path.is_file()}

    project.repro()
    before = contents()
    for path in aside:
        path.rename(path.with_suffix(".aside"))
    for path in results.iterdir():
        if path.name != "raw":
            path.unlink()
    try:
        done = project.bench("report")
        assert done.returncode == 0, done.stderr
        assert contents() == before and "raw/tiny-fp.json.xz" in before and "report.html" in before
        again = project.bench("run", "--missing")
        assert again.returncode == 0 and again.stdout.startswith("every cell has its raw file"), again.stderr
        assert "note" not in project.bench("show").stdout
    finally:
        for path in aside:
            path.with_suffix(".aside").rename(path)


def test_only_cells_without_a_raw_file_are_run_if_asked(project: Project) -> None:
    """Its scores are here, so that DVC skips it, and the report makes the same file again."""
    project.repro()
    path = project.folder / "results/tiny/raw/tiny-rtn.json.xz"
    before = path.read_bytes()
    path.unlink()
    done = project.bench("run", "--missing")
    assert done.returncode == 0 and "1 of 5 cells: tiny-rtn\n" in done.stdout, done.stdout + done.stderr
    assert path.read_bytes() == before


def stale(project: Project) -> set[str]:
    """Return the stages that DVC would run now."""
    done = project.run("dvc", "status", "--json")
    assert done.returncode == 0, done.stderr
    return {stage.removeprefix("dvc.yaml:") for stage in json.loads(done.stdout)}


@contextmanager
def edited(*files: Path) -> Iterator[None]:
    """Have a line of comment more in some files."""
    before = {path: path.read_bytes() for path in files}
    try:
        for path, content in before.items():
            path.write_bytes(content + b"\n# edited\n")
        yield
    finally:
        for path, content in before.items():
            path.write_bytes(content)


def test_edited_table_label_plot_or_suite_recomputes_no_cell(project: Project) -> None:
    project.repro()
    report = ("bench/report/tables/quality.py", "bench/config/labels.py", "bench/report/plots/bits.py")
    with edited(*(project.folder / file for file in (*report, "conf/suite/paper.yaml"))):
        assert stale(project) == {"validate", "report@tiny"}, "one of them stands with the rules of params.yaml"
    trained = {f"reconstruct@{key}" for key in tiny_suite.params()["cells"]}
    with edited(project.folder / "swq/losses.py"):
        assert trained <= stale(project), "and DVC looks: an edited loss recomputes them"


def test_failing_cell_stops_no_other_and_is_named_at_the_end(project: Project) -> None:
    values = tiny_suite.params()
    values["report"]["baselines"] = {}  # schemes differ now
    values["cells"]["tiny-omniquant"]["scheme"] = "w3a16g48"  # does not divide 64
    values["cells"]["tiny-rtn"]["scheme"] = "w4a16g32"
    tiny_suite.write_params(project.folder, values)
    check = project.bench("check")
    assert check.returncode == 1 and check.stderr.startswith(
        "error: cells.tiny-omniquant: model tiny: scheme w3a16g48: "
    )
    done = project.run("dvc", "repro", "--keep-going")
    tiny_suite.write_params(project.folder, tiny_suite.params())
    assert done.returncode != 0
    assert {"reconstruct@tiny-rtn", "score@tiny-rtn"} <= ran(done.stdout)
    told = project.bench("failures").stdout.splitlines()
    assert len(told) == 1 and told[0].startswith("reconstruct@tiny-omniquant failed: ")
    assert "groups of 48 do not divide the 64 input channels of model.layers.0.self_attn.q_proj" in told[0]


def test_cells_at_once_are_the_same_cells(project: Project) -> None:
    """Three at a time, of which one fails; the others are those that one at a time would make."""
    values = tiny_suite.params()
    values["cells"]["tiny-rtn"]["scale_dtype"] = values["cells"]["tiny-omniquant"]["scale_dtype"] = "float32"
    values["cells"]["tiny-omniquant-sw"]["method"] |= {"let": True, "let_lr": 1e30}  # no scale is as large as that
    tiny_suite.write_params(project.folder, values)
    done = project.bench("run", "--jobs", "3")
    alone = project.folder / "artefacts/tiny-omniquant"
    made = (alone / "quantized.safetensors").read_bytes()
    shutil.rmtree(alone)
    again = project.bench("reconstruct", "tiny-omniquant")
    tiny_suite.write_params(project.folder, tiny_suite.params())
    assert again.returncode == 0 and (alone / "quantized.safetensors").read_bytes() == made
    assert done.returncode == 1 and "cell tiny-omniquant-sw failed: see .logs/dvc-tiny-omniquant-sw.log" in done.stderr
    assert "error: reconstruct@tiny-omniquant-sw: a weight range does not fit" in done.stderr
    assert "a weight range does not fit" in (project.folder / ".logs/dvc-tiny-omniquant-sw.log").read_text()
    assert "Running stage 'score@tiny-omniquant'" in (project.folder / ".logs/dvc-tiny-omniquant.log").read_text()
    assert "1 of 5 cells were not run" in (project.folder / "results/tiny/table.md").read_text()


def test_dvc_shows_the_same_numbers_and_plots(project: Project) -> None:
    project.repro()
    shown = json.loads(project.run("dvc", "metrics", "show", "--json").stdout)
    metrics = json.loads((project.folder / "results/tiny/metrics.json").read_text())
    assert shown[""]["data"]["results/tiny/metrics.json"]["data"] == metrics
    done = project.run("dvc", "plots", "show", "--out", "plots")
    assert done.returncode == 0, done.stderr
    page = (project.folder / "plots/index.html").read_text()
    assert all(f"{name}.png" in page for name in ("recovered", "bits", "losses"))


def test_show_prints_the_table_and_its_place(project: Project) -> None:
    done = project.bench("show")
    assert "OmniQuant + SW" in done.stdout and "results/tiny/report.html" in done.stdout
