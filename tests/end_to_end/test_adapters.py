"""ApiQ through the pipeline: its adapters are stored, scored and counted, and its saliency term is recorded."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from csv import DictReader
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from swq.checkpoint import Artefact
from swq.models.adapter import DecoderModel
from tests.support import tiny_suite
from tests.support.project import Project, copy_project
from tests.support.warm_python import warm_python

SALIENT = "tiny-apiq-saliency-sw"


def suite() -> dict[str, Any]:
    values = tiny_suite.params()
    cells = values["cells"]
    apiq = cells["tiny-omniquant"] | {"method": {"name": "apiq", "rank": 4, "epochs": 2, "adapter_lr": 0.01}}
    salient = apiq | {"loss": {"weights": {"mse": 0.9, "sw": 0.1}, "n_projections": 16, "normalised": True}}
    salient["method"] = apiq["method"] | {"saliency_weight": 0.5, "saliency_samples": 2}
    kept = {key: cells[key] for key in ("tiny-fp", "tiny-rtn", "tiny-omniquant")}
    values["cells"] = kept | {"tiny-apiq": apiq, SALIENT: salient}
    values["report"] = {"baselines": {"tiny-apiq": "tiny-rtn", SALIENT: "tiny-apiq"}}
    return values


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("project")
    copy_project(folder)
    tiny_suite.write_inputs(folder)
    (folder / "conf/suite/tiny.yaml").write_text("# @package _global_\n" + yaml.safe_dump(suite(), sort_keys=False))
    with warm_python(os.environ | {"HF_HUB_OFFLINE": "1", "DVC_NO_ANALYTICS": "1"}) as environment:
        yield Project(folder, environment)


def rows(path: Path) -> list[dict[str, str]]:
    return list(DictReader(path.read_text().splitlines()))


def test_adapters_and_saliency_run_and_resume(project: Project) -> None:
    folder = project.folder
    assert project.bench("compose", "tiny").returncode == 0
    done = project.bench("run")
    assert done.returncode == 0, done.stdout + done.stderr
    cells = json.loads((folder / "results/tiny/cells.json").read_text())
    artefact = Artefact.load(folder / f"artefacts/{SALIENT}/quantized.safetensors")
    assert artefact.has_adapters
    assert cells[SALIENT]["bits_per_weight"] == pytest.approx(artefact.bits_per_weight(), abs=5e-4)
    assert cells[SALIENT]["bits_per_weight"] > cells["tiny-rtn"]["bits_per_weight"]
    assert cells["tiny-apiq"]["perplexity"] != cells["tiny-omniquant"]["perplexity"]
    last = rows(folder / f"artefacts/{SALIENT}/losses.csv")[-1]
    shares = [float(last[f"{term}_grad_share"]) for term in ("mse", "sw", "saliency")]
    assert sum(shares) == pytest.approx(1, abs=1e-3) and all(shares)
    table = (folder / "results/tiny/table.md").read_text()
    assert "ApiQ (rank 4)" in table and "ApiQ + saliency (rank 4) + SW" in table


def test_a_killed_cell_resumes_to_the_same_bytes(project: Project) -> None:
    """The saliency is computed again, because finished blocks do not hold it."""
    artefacts = project.folder / "artefacts" / SALIENT
    before = (artefacts / "quantized.safetensors").read_bytes()
    shutil.rmtree(artefacts)
    kill_after_one_block = (
        "import os; from swq.pieces import Pieces; save = Pieces.save;"
        "Pieces.save = lambda *a: (save(*a), os._exit(9));"
        f"import sys; sys.argv = ['bench', 'reconstruct', '{SALIENT}'];"
        "from bench.__main__ import main; main()"
    )
    assert project.run(sys.executable, "-c", kill_after_one_block).returncode == 9
    done = project.cold("reconstruct", SALIENT)
    assert done.returncode == 0, done.stderr
    assert f"note: reconstruct@{SALIENT} continues from block 2 of 2 blocks" in done.stdout
    assert (artefacts / "quantized.safetensors").read_bytes() == before


def test_cells_are_exported(project: Project) -> None:
    """With what the codes and the adapters stand for; packed where there are none."""
    folder = project.folder
    for arguments in (("tiny-apiq", "--out", "plain"), ("tiny-rtn", "--packed", "--out", "packed")):
        done = project.bench("export", *arguments)
        assert done.returncode == 0, done.stderr
    plain = DecoderModel.load(folder / "plain").model
    artefact = Artefact.load(folder / "artefacts/tiny-apiq/quantized.safetensors")
    path = next(iter(artefact.shapes))
    assert torch.equal(plain.get_submodule(path).weight, artefact.weight(path).dequantize())
    card = (folder / "plain/README.md").read_text()
    assert "4 samples of 32 tokens of words" in card and "ApiQ" in card
    assert "pack-quantized" in (folder / "packed/config.json").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tiny-apik", "--out", "new"), "unknown cell 'tiny-apik'; did you mean 'tiny-apiq'?"),
        (("tiny-fp", "--out", "new"), "cell tiny-fp is full precision: there is nothing to export"),
        (("tiny-apiq", "--packed", "--out", "new"), "packed: the weights have adapters"),
        (("tiny-rtn", "--out", "inputs"), "inputs is there already and not empty"),
    ],
)
def test_what_cannot_be_exported_is_one_line(project: Project, arguments: tuple[str, ...], said: str) -> None:
    done = project.bench("export", *arguments)
    assert done.returncode == 1 and done.stderr.startswith("error: ") and said in done.stderr
    assert done.stderr.count("\n") == 1 and not (project.folder / "new").exists()
