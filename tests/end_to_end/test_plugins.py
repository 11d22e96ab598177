"""The package of docs/plugins.md, built, installed and run through the pipeline without an edit of this repository."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import tiny_suite
from tests.support.example_package import install_example
from tests.support.project import Project, copy_project
from tests.support.warm_python import warm_python


def suite() -> dict[str, Any]:
    """A suite that uses the package's method, alone and as a start, its loss and its task."""
    values = tiny_suite.params()
    values["protocol"]["tasks"] = ["piqa", "piqa_again"]
    cells = values["cells"]
    narrow = {"name": "narrow", "share": 0.8}
    kept = {key: cells[key] for key in ("tiny-fp", "tiny-rtn", "tiny-omniquant")}
    huber = cells["tiny-omniquant"] | {"loss": {"weights": {"mse": 0.9, "huber": 0.1}}}
    started = json.loads(json.dumps(cells["tiny-tesseraq-sw"]))
    started["method"]["start"] = narrow
    values["cells"] = kept | {
        "tiny-narrow": cells["tiny-rtn"] | {"method": narrow},
        "tiny-huber": huber,
        "tiny-started": started,
    }
    values["report"] = {"baselines": {"tiny-narrow": "tiny-rtn", "tiny-huber": "tiny-omniquant"}}
    del values["plan"]
    return values


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("project")
    copy_project(folder)
    tiny_suite.write_inputs(folder)
    shutil.copy(folder / "inputs/corpus/piqa.json", folder / "inputs/corpus/piqa_again.json")
    (folder / "conf/suite/tiny.yaml").write_text("# @package _global_\n" + yaml.safe_dump(suite(), sort_keys=False))
    install_example(folder / "mine-source", folder / "site")
    given = os.environ | {"PYTHONPATH": str(folder / "site"), "HF_HUB_OFFLINE": "1", "DVC_NO_ANALYTICS": "1"}
    with warm_python(given) as environment:
        yield Project(folder, environment)


def test_a_package_of_the_users_runs_and_its_change_is_seen(project: Project) -> None:
    folder = project.folder
    composed = project.bench("compose", "tiny")
    assert composed.returncode == 0, composed.stderr
    written = yaml.safe_load((folder / "params.yaml").read_text())
    assert written["cells"]["tiny-narrow"]["method"] == {"name": "plugin", "plugin": "narrow", "share": 0.8}
    used = {key for key, cell in written["cells"].items() if "mine" in cell.get("plugins", {})}
    assert used == set(written["cells"]), "a family may be that of any model"
    assert list(written["protocol"]["plugins"]) == ["mine"]
    done = project.bench("run")
    assert done.returncode == 0, done.stdout + done.stderr
    cells = json.loads((folder / "results/tiny/cells.json").read_text())
    assert set(cells) == set(written["cells"]) and set(cells["tiny-narrow"]["tasks"]) == {"piqa", "piqa_again"}
    assert cells["tiny-narrow"]["perplexity"] != cells["tiny-rtn"]["perplexity"]
    assert cells["tiny-huber"]["perplexity"] != cells["tiny-omniquant"]["perplexity"]
    assert "Narrow" in (folder / "results/tiny/table.md").read_text()

    losses = folder / "site/mine/losses.py"
    losses.write_text(losses.read_text() + "# changed\n")
    told = project.bench("check")
    assert told.returncode == 1 and "Traceback" not in told.stderr
    assert "package mine is not as it was when params.yaml was composed" in told.stderr
    assert project.bench("compose", "tiny").returncode == 0
    status = project.run("dvc", "status", "--json")
    assert status.returncode == 0, status.stderr
    assert {f"reconstruct@{key}" for key in cells} <= set(json.loads(status.stdout))


def test_the_console_takes_its_method(project: Project) -> None:
    swq = ("python", "-m", "swq.command.app")
    settings = ("--scheme", "w3a16g32", "--method", "narrow", "--set", "share=0.8", "--out", "narrow")
    done = project.run(*swq, "quantize", "inputs/model", *settings)
    assert done.returncode == 0, done.stderr
    shown = project.run(*swq, "inspect", "narrow")
    assert shown.returncode == 0 and "Narrow" in shown.stdout, shown.stderr


@pytest.mark.parametrize(
    ("group", "name", "line", "message"),
    [
        ("swq.methods", "broken.py", "raise ValueError('no')", "cannot be imported (ValueError: no)"),
        ("swq.methods", "wrong.py", "Mine = 3", "plug-in mine of package wrong is no Method"),
        ("bench.tasks", "task.py", "Mine = 3", "plug-in mine of package task is no Task"),
    ],
)
def test_a_broken_package_is_named_in_one_line(
    project: Project, group: str, name: str, line: str, message: str
) -> None:
    site = project.folder / "other"
    shutil.rmtree(site, ignore_errors=True)
    info = site / "other-1.dist-info"
    info.mkdir(parents=True)
    (site / name).write_text(line)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{group}]\nmine = {Path(name).stem}:Mine\n")
    path = os.pathsep.join([project.environment["PYTHONPATH"], str(site)])
    told = project.bench("compose", "tiny", "--force", PYTHONPATH=path)
    assert told.returncode == 1 and message in told.stderr and "Traceback" not in told.stderr
    assert len(told.stderr.splitlines()) == 1
