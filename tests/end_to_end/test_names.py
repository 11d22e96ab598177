"""Names from params.yaml reach neither a shell nor a folder outside, also under plain `dvc repro`.

DVC puts them into commands and paths whatever they hold, and removes a stage's old outputs before it runs the stage.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import tiny_suite
from tests.support.project import Project, copy_project, ran
from tests.support.warm_python import warm_python

Edit = Callable[[dict[str, Any], str], None]


def _rename(section: str, key: str) -> Edit:
    def edit(values: dict[str, Any], name: str) -> None:
        values[section][name] = values[section].pop(key)

    return edit


def _suite(values: dict[str, Any], name: str) -> None:
    values["suite"] = name


def _model_of_a_cell(values: dict[str, Any], name: str) -> None:
    values["cells"]["tiny-rtn"]["model"] = name


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("project") / "in"
    folder.mkdir()
    copy_project(folder)
    tiny_suite.write_inputs(folder)
    given = os.environ | {"PYTHONPATH": "", "HF_HUB_OFFLINE": "1", "DVC_NO_ANALYTICS": "1"}
    with warm_python(given) as environment:
        yield Project(folder, environment)


@pytest.mark.parametrize(
    ("edit", "name"),
    [
        (_rename("models", "tiny"), "x; touch PWNED"),
        (_rename("corpora", "words"), "$(touch PWNED)"),
        (_rename("cells", "tiny-rtn"), "x`touch PWNED`"),
        (_rename("cells", "tiny-rtn"), "../../../victim"),
        (_model_of_a_cell, "../../../victim"),
        (_suite, "../../victim"),
    ],
    ids=["model", "corpus", "cell", "cell's folder", "cell's model", "suite"],
)
def test_name_that_is_not_allowed_ends_the_run_before_it_begins(project: Project, edit: Edit, name: str) -> None:
    victim = project.folder.parent / "victim/kept.txt"
    victim.parent.mkdir(exist_ok=True)
    victim.write_text("kept")
    values = tiny_suite.params()
    edit(values, name)
    tiny_suite.write_params(project.folder, values)
    done = project.run("dvc", "repro")
    assert done.returncode != 0
    assert ran(done.stdout) <= {"validate"}, "nothing else began"
    assert victim.read_text() == "kept"
    assert not list(project.folder.parent.rglob("PWNED"))


def test_stage_alone_does_not_run_with_names_that_were_not_validated(project: Project) -> None:
    """The file that says they were goes when a validation begins, and every stage depends on it."""
    tiny_suite.write_params(project.folder, tiny_suite.params())
    assert project.run("dvc", "repro", "validate").returncode == 0
    values = tiny_suite.params()
    _rename("cells", "tiny-rtn")(values, "x; touch PWNED")
    tiny_suite.write_params(project.folder, values)
    assert project.run("dvc", "repro", "validate").returncode != 0
    done = project.run("dvc", "repro", "--single-item", "score@x; touch PWNED")
    assert done.returncode != 0 and not list(Path(project.folder).rglob("PWNED"))
