"""The paper suite itself, end to end on a CPU: its cells and its revisions, from a hub on loopback with small files.

Commands run in processes of their own, because the hub's client reads its settings when it is imported. Most cells
share one where DVC would start one each. One slice runs under DVC, in interpreters that are warm
(tests/support/warm_python.py).
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
import yaml

from bench.config.params import Params, load_params
from bench.published.anchors import NO_ANCHOR
from bench.published.claims import CLAIMS, load_claims
from bench.published.figures import PUBLISHED, load_published
from bench.published.settings import settings_of
from tests.support.hub import MEMBER, STRANGER, Hub
from tests.support.paper_hub import publish, shrink
from tests.support.project import Project, copy_project
from tests.support.repository import ROOT
from tests.support.warm_python import warm_python

SLICES = {"llama-2-7b": "w2a16g64", "llama-2-13b": "w3a16g128", "opt-6-7b": "w2a16"}  # the anchor's goes through DVC


@dataclass
class Paper(Project):
    """A copy of the project whose params.yaml holds the paper suite, shrunk, and the hub it asks.

    Attributes:
        hub: of its environment.
        params: of the shrunk suite.
    """

    hub: Hub
    params: Params

    def cells(self, model: str, scheme: str) -> list[str]:
        chosen = {key: cell for key, cell in self.params.cells.items() if cell.model == model}
        return [key for key, cell in chosen.items() if str(cell.scheme) in ("None", scheme)]

    def home(self, name: str) -> str:
        """A folder for the caches of the hub's client."""
        return str(self.folder / name)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paper]:
    folder = tmp_path_factory.mktemp("paper")
    copy_project(folder)
    (folder / "conf/shapes.yaml").unlink()  # it knows the real models, and these are small ones under their names
    with Hub() as hub, warm_python(hub.environment(folder / "home", MEMBER)) as environment:
        composed = Project(folder, environment).bench("compose", "paper")
        assert composed.returncode == 0, composed.stderr
        shutil.copy(folder / "params.yaml", folder / "composed.yaml")
        values: dict[str, Any] = yaml.safe_load((folder / "params.yaml").read_text())
        shrink(values)
        (folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
        yield Paper(folder, environment, hub, load_params(folder / "params.yaml"))


def test_grid_is_the_papers(project: Paper) -> None:
    composed = load_params(project.folder / "composed.yaml")
    assert list(composed.cells) == list(project.params.cells)
    schemes = {"w2a16", "w2a16g128", "w2a16g64", "w3a16", "w3a16g128", "w4a16", "w4a16g128"}
    rows = {"rtn", "awq", "gptq", "omniquant", "omniquant-sw", "tesseraq", "tesseraq-sw"}
    anchors = {
        f"paper-{m}-{s}-{method}-official" for m, s, method in product(SLICES, schemes, ("omniquant", "tesseraq"))
    }
    anchors -= {"paper-opt-6-7b-w2a16-omniquant-official"}  # nobody has published a recipe for it
    anchors -= {f"paper-{m}-w4a16g128-tesseraq-official" for m in SLICES}  # nor a figure of these
    for model in SLICES:
        wanted = {f"paper-{model}-{scheme}-{row}" for scheme in schemes for row in rows} | {f"paper-{model}-fp"}
        wanted |= {key for key in anchors if model in key and not ("opt" in key and "tesseraq" in key)}
        assert {key for key, cell in composed.cells.items() if cell.model == model} == wanted
        for scheme in schemes:
            base = f"paper-{model}-{scheme}-"
            baselines = {row: composed.report.baselines.get(base + row) for row in rows}
            of = {"awq": "rtn", "gptq": "rtn", "omniquant": "rtn", "tesseraq": "rtn"}
            of |= {"omniquant-sw": "omniquant", "tesseraq-sw": "tesseraq"}
            assert baselines == {"rtn": None} | {row: base + other for row, other in of.items()}
            assert {composed.report.baselines.get(key) for key in wanted & anchors if base in key} <= {base + "rtn"}
    for key, cell in composed.cells.items():
        trained = composed.calibrations[cell.calibration]
        if key.endswith("tesseraq-official"):
            assert (trained.corpus, trained.n_samples, trained.seq_len, trained.seed) == ("wikitext2", 512, 2048, 42)
        elif "tesseraq" in key:
            assert (trained.corpus, trained.n_samples, trained.seq_len, trained.seed) == ("c4", 256, 2048, 42)
        elif key.endswith("gptq"):
            assert (trained.corpus, trained.n_samples, trained.seq_len, trained.seed) == ("c4", 128, 2048, 0)
            assert cell.method.act_order == ("llama" in key)  # type: ignore[attr-defined]
        if "omniquant" in key:
            assert (trained.corpus, trained.n_samples, trained.seq_len, trained.seed) == ("wikitext2", 128, 2048, 2)
            assert cell.method.epochs == (40 if "-w2" in key else 20)  # type: ignore[attr-defined]
            assert cell.method.let == ("opt" in key)  # type: ignore[attr-defined]
            assert cell.method.aug_loss == ("-w2" in key and "llama" in key)  # type: ignore[attr-defined]


def test_every_method_with_published_figures_has_a_row_by_its_recipe(project: Paper) -> None:
    """Each claim's setting is anchored, but for those of which nobody has published a figure or a recipe."""
    composed = load_params(project.folder / "composed.yaml")
    claims, registry = load_claims(ROOT / CLAIMS), load_published(ROOT / PUBLISHED)
    without = set()
    for claim in claims.claims.values():
        for setting in settings_of(claim, "accuracy", composed, claims, {}, registry):
            if setting.standing.anchor == NO_ANCHOR:
                without.add((claim.model.rpartition("/")[2], claim.method, setting.scheme))
            else:
                assert re.fullmatch(rf"not run: \S+-{claim.method}-official", setting.standing.anchor)
    schemes = ("w2a16", "w2a16g128", "w2a16g64", "w3a16", "w3a16g128", "w4a16", "w4a16g128")
    unpublished = {("opt-6.7b", "omniquant", "w2a16")} | {("opt-6.7b", "tesseraq", scheme) for scheme in schemes}
    assert without == unpublished | {(f"Llama-2-{n}-hf", "tesseraq", "w4a16g128") for n in ("7b", "13b")}


def test_missing_repository_ends_in_one_line(project: Paper) -> None:
    done = project.bench("fetch-model", "opt-125m", HF_HOME=project.home("cold"))
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: model facebook/opt-125m is not on the hub, or it is private")
    publish(project.hub, project.params, project.folder / "repositories")


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("", "is gated, and you are not logged in: ask for access at https://huggingface.co/meta-llama"),
        (STRANGER, "is gated, and this token has no access: ask for access at"),
        ("hf_nobody", "the hub answers 401; the token is not valid: `hf auth login` again"),
    ],
)
def test_gated_repository_ends_in_one_line(project: Paper, token: str, said: str) -> None:
    done = project.bench("fetch-model", "llama-2-13b", HF_TOKEN=token, HF_HOME=project.home("cold"))
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: model meta-llama/Llama-2-13b-hf") and said in done.stderr


def test_cold_cache_without_a_network_ends_in_one_line(project: Paper) -> None:
    done = project.bench("fetch-model", "opt-125m", HF_HOME=project.home("cold"), HF_HUB_OFFLINE="1")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "model facebook/opt-125m is not in the cache" in done.stderr and "HF_HUB_OFFLINE forbids" in done.stderr


def test_configuration_alone_does_not_pass_for_the_model(project: Paper) -> None:
    assert project.bench("estimate", "--model", "opt-125m", HF_HOME=project.home("cold")).returncode == 0
    done = project.bench("fetch-model", "opt-125m", HF_HOME=project.home("cold"), HF_HUB_OFFLINE="1")
    assert done.returncode == 1 and "model facebook/opt-125m is not in the cache" in done.stderr


def test_one_scheme_per_model_runs_through_every_stage(project: Paper) -> None:
    lines = [f"fetch-model {key}" for key in project.params.models]
    lines += [f"fetch-corpus {key}" for key in project.params.corpora]
    lines += [f"calibrate {key}" for key in project.params.calibrations]
    for model, scheme in SLICES.items():
        lines += [f"{stage} {key}" for key in project.cells(model, scheme) for stage in ("reconstruct", "score")]
    done = project.cold_together(*lines, "report", "check", "estimate --model llama-2-7b --scheme w2a16g64")
    assert done.returncode == 0, done.stdout + done.stderr
    fetched = [path for _, path in project.hub.requests if path.endswith((".bin", ".safetensors"))]
    assert fetched and not any(path.endswith(".bin") for path in fetched), "safetensors only"


def test_table_holds_what_was_run_and_says_what_was_not(project: Paper) -> None:
    metrics = json.loads((project.folder / "results/paper/cells.json").read_text())
    run = [key for model, scheme in SLICES.items() for key in project.cells(model, scheme)]
    assert list(metrics) == [key for key in project.params.cells if key in run] and len(run) == 28
    for values in metrics.values():
        assert set(values["perplexity"]) == {"wikitext2", "c4"} and min(values["perplexity"].values()) > 1
        assert set(values["tasks"]) == set(project.params.protocol.tasks)
    table = (project.folder / "results/paper/table.md").read_text()
    sections = {part.partition("\n")[0]: part for part in re.split("^## ", table, flags=re.MULTILINE)[1:]}
    published = sections["Beside the published figures"]
    for section in (sections["Quality"], sections["Share of the loss that is recovered, and the cost"]):
        assert len(re.findall(r"^\| (?:llama|opt)", section, re.MULTILINE)) == len(run)
    assert "`python -m bench run --model llama-2-13b --scheme w2a16`" in sections["What was not run"]
    anchor = next(line for line in published.splitlines() if line.startswith("| opt-125m    | FP"))
    assert "27.65 (OQA)" in anchor and "not run" in anchor
    assert re.search(r"\| llama-2-7b +\| FP .*\d \([+-][\d.]+ %\) +\| +5.47 \(OQ1\)", published)
    assert "+ SW" not in published, "nothing is published of those cells"


def test_calibration_follows_the_published_sampling(project: Paper) -> None:
    from swq.tensor_file import read_tensors

    tokens, header = read_tensors(project.folder / "data/calibrations/llama-2-7b-c4/tokens.safetensors")
    assert tokens["tokens"].shape == (4, 64) and header["sampling"] == "gptq-documents"
    manifest = json.loads((project.folder / "data/corpora/c4/manifest.json").read_text())
    assert manifest["sources"]["train"]["revision"] == project.params.corpora["c4"].texts["train"].revision  # type: ignore[union-attr]
    assert header["text_sha256"] == manifest["texts"]["train"]


def test_opts_texts_begin_with_its_start_token(project: Paper) -> None:
    from bench.inputs.models import ModelRecord
    from bench.inputs.texts import Text

    record = ModelRecord(str(project.folder / "repositories/2"), "", "", "")
    assert "opt" in list(project.params.models)[2]
    text = Text(project.folder / "data/corpora/scored", "wikitext2", record.tokenizer())
    assert text.joined()[0] == text.document(0)[0] == 2 and (text.joined() == 2).sum() == 1


def test_slice_under_dvc_leaves_the_other_cells(project: Paper) -> None:
    done = project.bench("run", "--model", "opt-125m", "--scheme", "w4a16")
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = json.loads((project.folder / "results/paper/cells.json").read_text())
    assert {key for key in metrics if "125m" in key} == set(project.cells("opt-125m", "w4a16")) and len(metrics) == 32
    assert "Quality" in done.stdout.splitlines() and "results/paper/report.html" in done.stdout


def test_warm_cache_works_without_a_network(project: Paper) -> None:
    before = len(project.hub.requests)
    lines = ("fetch-model llama-2-13b", "fetch-model opt-6-7b", "fetch-corpus pile")
    done = project.cold_together(*lines, HF_HUB_OFFLINE="1", HF_TOKEN="")
    assert done.returncode == 0, done.stderr
    assert len(project.hub.requests) == before


def test_branch_that_moved_is_refused(project: Paper) -> None:
    source = project.params.models["opt-6-7b"]
    hub, folder = project.hub, project.folder / "repositories/3"
    hub.add("model", source.repo, folder, "f" * 40, branch=source.revision)  # type: ignore[union-attr]
    done = project.bench("fetch-model", "opt-6-7b", HF_HOME=project.home("another"))
    assert done.returncode == 1
    assert "facebook/opt-6.7b: refs/pr/31 is now at commit ffffffffffff, no longer at 3f007b4" in done.stderr
