"""An exported model, scored by the `lm_eval` command line without this project, beside the pipeline's cell."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from tests.support import tiny_suite
from tests.support.project import Project, copy_project
from tests.support.warm_python import warm_python

TASK = "piqa"
DEFINITION = {
    "task": "exported",
    "dataset_path": "json",
    "output_type": "multiple_choice",
    "validation_split": "validation",
    "doc_to_text": "Question: {{goal}}\nAnswer:",  # as lm-eval's own piqa.yaml has it
    "doc_to_target": "label",
    "doc_to_choice": "{{[sol1, sol2]}}",
    "metric_list": [{"metric": "acc"}],
}
SCORE = """
import sys
from lm_eval.__main__ import cli_evaluate
sys.argv = ["lm_eval", *sys.argv[1:]]
cli_evaluate()
assert not {"swq", "bench"} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project in which RTN's cell was scored, and the same model was quantized and exported from the console."""
    folder = tmp_path_factory.mktemp("project")
    copy_project(folder)
    tiny_suite.write_inputs(folder)
    tiny_suite.write_params(folder, tiny_suite.params())
    given = os.environ | {"PYTHONPATH": "", "HF_HUB_OFFLINE": "1", "DVC_NO_ANALYTICS": "1"}
    with warm_python(given) as environment:
        made = Project(folder, environment)
        swq = ("python", "-m", "swq.command.app")
        rtn = ("--scheme", "w3a16g32", "--method", "rtn", "--threads", "1", "--out", "quantized")
        for command in (
            ("dvc", "repro", "score@tiny-rtn"),
            (*swq, "quantize", "inputs/model", *rtn),
            (*swq, "export", "quantized", "--out", "plain"),
            (*swq, "export", "quantized", "--packed", "--out", "packed"),
        ):
            done = made.run(*command)
            assert done.returncode == 0, done.stdout + done.stderr
        yield made


def scored(project: Project, exported: str) -> tuple[float, list[list[float]]]:
    """Return the accuracy and the log-likelihoods of choices that lm-eval's command line finds, outside the project."""
    away = project.folder / "away"
    (away / "tasks").mkdir(parents=True, exist_ok=True)
    data = str(project.folder / f"inputs/corpus/{TASK}.json")
    definition = DEFINITION | {"dataset_kwargs": {"data_files": {"validation": data}}}
    (away / "tasks/exported.yaml").write_text(json.dumps(definition))
    model = f"pretrained={project.folder / exported},dtype=float32"
    given = ("--tasks", "exported", "--include_path", str(away / "tasks"), "--device", "cpu", "--limit", "5")
    command = ("python", "-I", "-c", SCORE, "run", "--model", "hf", "--model_args", model, *given)
    cached = {"HF_HOME": str(away / "cache"), "HF_DATASETS_CACHE": str(away / "cache")}
    done = project.run(*command, "--log_samples", "--output_path", str(away / exported), **cached)
    assert done.returncode == 0, done.stderr[-3000:]
    (results,), (samples,) = ((away / exported).rglob(name) for name in ("results_*.json", "samples_*.jsonl"))
    lines = sorted(map(json.loads, samples.read_text().splitlines()), key=lambda line: line["doc_id"])
    likelihoods = [[float(choice[0]) for choice in line["filtered_resps"]] for line in lines]
    return json.loads(results.read_text())["results"]["exported"]["acc,none"], likelihoods


@pytest.mark.parametrize("exported", ["plain", "packed"])
def test_lm_evals_command_line_finds_the_pipelines_scores(project: Project, exported: str) -> None:
    scores = project.folder / "scores/tiny-rtn"
    accuracy, likelihoods = scored(project, exported)
    assert accuracy == json.loads((scores / "summary.json").read_text())["tasks"][TASK]["acc"]
    items = [
        item for item in map(json.loads, (scores / "items.jsonl").read_text().splitlines()) if item["task"] == TASK
    ]
    assert len(items) == len(likelihoods) == 5
    for item, found in zip(items, likelihoods, strict=True):
        assert found == pytest.approx(item["log_likelihoods"], abs=1e-3)
