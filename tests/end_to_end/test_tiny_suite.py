"""The whole pipeline under DVC on a tiny random model, as a user runs it: nothing is replaced by a stand-in."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import tiny_suite

ROOT = Path(__file__).parent.parent
STAGES = ("fetch-model", "fetch-corpus", "calibrate", "reconstruct", "score", "report")


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in `folder` with this interpreter first on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": "", "HF_HUB_OFFLINE": "1", "DVC_NO_ANALYTICS": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def repro(folder: Path) -> str:
    """Run `dvc repro` and return what it printed."""
    done = run(folder, "dvc", "repro")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ran(output: str) -> set[str]:
    """Return the stages that DVC says it ran."""
    return {line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the tiny suite, run once."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("bench", "swq"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "conf").mkdir()
    for name in ("dvc.yaml", ".dvcignore", "conf/published.yaml"):
        shutil.copy(ROOT / name, folder / name)
    (folder / ".dvc").mkdir()
    settings = (ROOT / ".dvc/config").read_text()
    (folder / ".dvc/config").write_text(settings.replace("[core]\n", "[core]\n    no_scm = true\n"))
    tiny_suite.write_model(folder / "inputs/model")
    tiny_suite.write_corpus(folder / "inputs/corpus")
    tiny_suite.write_params(folder, tiny_suite.params())
    (folder / "first_run.txt").write_text(repro(folder))
    return folder


def test_every_stage_runs(project: Path) -> None:
    stages = ran((project / "first_run.txt").read_text())
    assert {stage.split("@")[0] for stage in stages} == set(STAGES)
    assert {f"score@{key}" for key in tiny_suite.params()["cells"]} <= stages


def test_results_hold_every_cell(project: Path) -> None:
    results = project / "results/tiny"
    assert {path.name for path in results.iterdir()} == {
        "table.md",
        "metrics.json",
        "cells.json",
        "provenance.json",
        "report.html",
        "answers.tex",
        "presence.tex",
        *(f"{table}.{form}" for table in ("quality", "recovered", "changed") for form in ("csv", "tex")),
        *(f"{plot}.{form}" for plot in ("recovered", "bits", "losses") for form in ("png", "svg")),
    }
    table = (results / "table.md").read_text()
    assert all(
        f"| {label} " in table for label in ("FP", "RTN", "OmniQuant", "OmniQuant + SW", "TesseraQ (from AWQ) + SW")
    )
    assert "25 items fix" in table
    metrics, cells = (json.loads((results / f"{name}.json").read_text()) for name in ("metrics", "cells"))
    assert list(metrics) == list(cells) == list(tiny_suite.params()["cells"])
    assert cells["tiny-rtn"]["bits_per_weight"] == pytest.approx(3 + (16 + 3) / 32)
    fp, rtn = (metrics[f"tiny-{name}"]["perplexity_perplexity"] for name in ("fp", "rtn"))
    assert fp < 2 * rtn


def test_every_result_says_where_it_came_from(project: Path) -> None:
    metrics = json.loads((project / "results/tiny/cells.json").read_text())
    provenance = json.loads((project / "results/tiny/provenance.json").read_text())
    header = json.loads((project / "data/corpora/words/manifest.json").read_text())
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


def test_overlapping_passage_is_removed(project: Path) -> None:
    manifest = json.loads((project / "data/corpora/words/manifest.json").read_text())
    assert manifest["calibration_passages_removed_for_overlap_with"]["perplexity"] == 1
    assert manifest["passages"]["calibration"] == 20


def test_trained_cells_leave_their_losses(project: Path) -> None:
    rows = (project / "artefacts/tiny-omniquant-sw/losses.csv").read_text().splitlines()
    assert rows[0] == "block,epoch,loss,mse,sw,mse_grad_share,sw_grad_share"
    assert len(rows) == 1 + 2 * 2  # two blocks, two epochs
    rounds = (project / "artefacts/tiny-tesseraq-sw/losses.csv").read_text().splitlines()
    assert rounds[0] == "block,epoch,loss,l2,sw,l2_grad_share,sw_grad_share"
    assert len(rounds) == 1 + 2 * 2  # two blocks, two rounds
    assert not any((project / ".resume").glob("*")), "finished cells leave no resume state"


def test_second_run_recomputes_nothing_and_one_edit_re_runs_one_cell(project: Path) -> None:
    assert ran(repro(project)) == set()
    values = tiny_suite.params()
    values["cells"]["tiny-rtn"]["scale_dtype"] = "float32"
    tiny_suite.write_params(project, values)
    try:
        assert ran(repro(project)) == {"reconstruct@tiny-rtn", "score@tiny-rtn", "report@tiny"}
    finally:
        tiny_suite.write_params(project, tiny_suite.params())


def test_reconstruct_is_byte_identical_and_resumes_after_a_kill(project: Path) -> None:
    """A second run of a cell writes the same bytes: alone, killed after its first block, its keys in another order."""
    artefacts = project / "artefacts/tiny-omniquant-sw"
    names = ("quantized.safetensors", "learned.safetensors", "losses.csv")
    before = {name: (artefacts / name).read_bytes() for name in names}
    shutil.rmtree(artefacts)
    tiny_suite.write_params(project, reordered(tiny_suite.params()))
    kill_after_one_block = (
        "import os, swq.reconstruct.resume as r; save = r.ResumeFolder.save;"
        "r.ResumeFolder.save = lambda *a: (save(*a), os._exit(9));"
        "import sys; sys.argv = ['bench', 'reconstruct', 'tiny-omniquant-sw'];"
        "from bench.__main__ import main; main()"
    )
    assert run(project, sys.executable, "-c", kill_after_one_block).returncode == 9
    assert [path.name for path in (project / ".resume").glob("*/*")] == ["block_000.safetensors"]
    assert not artefacts.exists() or not list(artefacts.iterdir())
    done = run(project, sys.executable, "-m", "bench", "reconstruct", "tiny-omniquant-sw")
    tiny_suite.write_params(project, tiny_suite.params())
    assert done.returncode == 0, done.stderr
    assert {name: (artefacts / name).read_bytes() for name in names} == before


def reordered(value: Any) -> Any:
    """Return a configuration with every mapping's keys in reverse order."""
    return {key: reordered(value[key]) for key in reversed(value)} if isinstance(value, dict) else value


def test_scores_are_byte_identical(project: Path) -> None:
    scores = project / "scores/tiny-omniquant-sw"
    names = ("items.jsonl", "token_losses/perplexity.npy", "summary.json")
    before = {name: (scores / name).read_bytes() for name in names}
    done = run(project, sys.executable, "-m", "bench", "score", "tiny-omniquant-sw")
    assert done.returncode == 0, done.stderr
    assert {name: (scores / name).read_bytes() for name in names} == before


def test_failing_cell_stops_no_other_and_is_named_at_the_end(project: Path) -> None:
    values = tiny_suite.params()
    values["report"]["baselines"] = {}  # schemes differ now
    values["cells"]["tiny-omniquant"]["scheme"] = "w3a16g48"  # does not divide 64
    values["cells"]["tiny-rtn"]["scheme"] = "w4a16g32"
    tiny_suite.write_params(project, values)
    check = run(project, sys.executable, "-m", "bench", "check")
    assert check.returncode == 1 and check.stderr.startswith("error: cells.tiny-omniquant: self_attn.q_proj")
    done = run(project, "dvc", "repro", "--keep-going")
    tiny_suite.write_params(project, tiny_suite.params())
    assert done.returncode != 0
    assert {"reconstruct@tiny-rtn", "score@tiny-rtn"} <= ran(done.stdout)
    told = run(project, sys.executable, "-m", "bench", "failures").stdout.splitlines()
    assert len(told) == 1 and told[0].startswith("reconstruct@tiny-omniquant failed: ")
    assert "group_size 48 does not divide a row of 64" in told[0] and "16, 32, 64" in told[0]


def test_cells_at_once_are_the_same_cells(project: Path) -> None:
    """Three at a time, of which one fails; the others are those that one at a time would make."""
    values = tiny_suite.params()
    values["cells"]["tiny-rtn"]["scale_dtype"] = values["cells"]["tiny-omniquant"]["scale_dtype"] = "float32"
    values["cells"]["tiny-omniquant-sw"]["method"] |= {"let": True, "let_lr": 1e30}  # no scale is as large as that
    tiny_suite.write_params(project, values)
    done = run(project, sys.executable, "-m", "bench", "run", "--jobs", "3")
    alone = project / "artefacts/tiny-omniquant"
    made = (alone / "quantized.safetensors").read_bytes()
    shutil.rmtree(alone)
    again = run(project, sys.executable, "-m", "bench", "reconstruct", "tiny-omniquant")
    tiny_suite.write_params(project, tiny_suite.params())
    assert again.returncode == 0 and (alone / "quantized.safetensors").read_bytes() == made
    assert done.returncode == 1 and "cell tiny-omniquant-sw failed: see .logs/tiny-omniquant-sw.log" in done.stderr
    assert "error: reconstruct@tiny-omniquant-sw: a weight range does not fit" in done.stderr
    assert "a weight range does not fit" in (project / ".logs/tiny-omniquant-sw.log").read_text()
    assert "Running stage 'score@tiny-omniquant'" in (project / ".logs/tiny-omniquant.log").read_text()
    assert "1 of 5 cells were not run" in (project / "results/tiny/table.md").read_text()


def test_dvc_shows_the_same_numbers_and_plots(project: Path) -> None:
    repro(project)
    shown = json.loads(run(project, "dvc", "metrics", "show", "--json").stdout)
    metrics = json.loads((project / "results/tiny/metrics.json").read_text())
    assert shown[""]["data"]["results/tiny/metrics.json"]["data"] == metrics
    done = run(project, "dvc", "plots", "show", "--out", "plots")
    assert done.returncode == 0, done.stderr
    page = (project / "plots/index.html").read_text()
    assert all(f"{name}.png" in page for name in ("recovered", "bits", "losses"))


def test_show_prints_the_table_and_its_place(project: Path) -> None:
    done = run(project, sys.executable, "-m", "bench", "show")
    assert "OmniQuant + SW" in done.stdout and "results/tiny/table.md" in done.stdout
