"""What a user sees when a stage cannot do its work, and that nothing half-written is left behind."""

from __future__ import annotations

import copy
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from bench import runtime
from bench.config import Params, Runtime, load_params
from bench.harness import Item, write_items
from bench.paths import artefact_folder, score_folder
from bench.records import write_json
from bench.results import labels, load_results, recovered_by
from bench.rows import rows
from bench.stages.check import check
from bench.stages.fetch import fetch_corpus, fetch_model
from bench.stages.report import report, show
from bench.tables import quality_table
from swq.errors import UserError
from swq.files import atomic_folder
from tests import tiny_suite


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """The tiny suite in the current folder, its inputs made but nothing fetched."""
    monkeypatch.chdir(tmp_path)
    tiny_suite.write_model(tmp_path / "inputs/model")
    tiny_suite.write_params(tmp_path, tiny_suite.params())
    return load_params()


def edit_config(change: dict[str, Any]) -> None:
    path = Path("inputs/model/config.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


def test_missing_model_folder(params: Params) -> None:
    shutil.rmtree("inputs/model")
    with pytest.raises(
        UserError, match=r"model 'inputs/model' is no transformers model folder: there is no inputs/model"
    ):
        fetch_model(params, "tiny")
    assert not list(Path("data/models").iterdir())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"architectures": ["LlamaForSequenceClassification"]}, "hold no causal language model"),
        ({"model_type": "lama"}, "unknown model_type 'lama'; did you mean 'llama'"),
    ],
)
def test_model_that_is_no_known_causal_lm(params: Params, change: dict[str, Any], said: str) -> None:
    edit_config(change)
    with pytest.raises(UserError, match=said):
        fetch_model(params, "tiny")
    assert not list(Path("data/models").iterdir())


def test_model_without_tokenizer(params: Params) -> None:
    for path in Path("inputs/model").glob("tokenizer*"):
        path.unlink()
    with pytest.raises(UserError, match="holds no tokenizer files"):
        fetch_model(params, "tiny")


def test_corpus_that_is_not_there(params: Params) -> None:
    with pytest.raises(UserError, match=r"corpus file inputs/corpus/calibration.json cannot be read"):
        fetch_corpus(params, "words")


def test_check_compares_lengths_and_schemes_with_the_model(params: Params) -> None:
    assert check(params).startswith("params.yaml is valid: suite tiny, 5 cells")
    edit_config({"max_position_embeddings": 48})
    with pytest.raises(UserError, match=r"protocol.perplexity.seq_len: 64 tokens are more than .*allowed: up to 48"):
        check(params)
    edit_config({"intermediate_size": 80, "max_position_embeddings": 256})
    with pytest.raises(UserError, match=r"cells.tiny-rtn: mlp.down_proj of model tiny: .*does not divide a row of 80"):
        check(params)


def test_check_tells_what_would_surprise(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half precision without a GPU, and a conf/ that params.yaml does not follow."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert check(params).endswith("tiny-omniquant-sw, tiny-tesseraq-sw")
    cells = params.cells | {"tiny-rtn": params.cells["tiny-rtn"].model_copy(update={"precision": "16-mixed"})}
    assert "(else add precision: 32-true): tiny-rtn" in check(params.model_copy(update={"cells": cells}))
    shutil.copytree(Path(__file__).parent.parent / "conf", "conf")
    assert "conf/ says something else by now: unknown suite 'tiny'" in check(params)
    values = tiny_suite.params()
    Path("conf/config.yaml").write_text("defaults: [{suite: tiny}, _self_]\n")
    Path("conf/suite/tiny.yaml").write_text("# @package _global_\n" + yaml.safe_dump(values))
    assert "conf/" not in check(params)
    Path("conf/suite/tiny.yaml").write_text("# @package _global_\n" + yaml.safe_dump(values | {"trainings": {"a": {}}}))
    assert check(params).endswith("`python -m bench compose tiny` takes it over")


def test_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"runtime.device is gpu, but torch sees none"):
        runtime.start(Runtime(device="gpu", threads=1))


def test_half_precision_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fabric would quietly take bfloat16 instead."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    with pytest.raises(UserError, match="precision 16-mixed needs a GPU"):
        runtime.start(Runtime(device="auto", threads=1), "16-mixed")


def test_full_disk_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    """/dev/full answers every write as a full disk does."""
    kept = tmp_path / "result"
    kept.mkdir()
    (kept / "before").touch()
    with (
        pytest.raises(UserError, match=f"no space left on the disk while writing {kept}"),
        atomic_folder(kept) as folder,
    ):
        (folder / "partial").write_text("something")
        Path("/dev/full").write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["result"]
    assert [path.name for path in kept.iterdir()] == ["before"]


def write_scores(params: Params, key: str, protocol: str = "p", doc_hash: str = "h") -> None:
    """Write the least that a report reads of a cell."""
    import numpy as np

    scores, artefacts = score_folder(key), artefact_folder(key)
    scores.mkdir(parents=True)
    artefacts.mkdir(parents=True)
    tasks = {"piqa": {"acc": 1.0, "margin": 1.0, "n_items": 1}}
    summary = {"protocol_sha256": protocol, "perplexity": {"perplexity": 2.0}, "diverged": False, "tasks": tasks}
    write_json(scores / "summary.json", summary)
    write_items(scores / "items.jsonl", [Item("piqa", 0, doc_hash, 0, (-1.0, -2.0))])
    (scores / "token_losses").mkdir()
    np.save(scores / "token_losses/perplexity.npy", np.ones((1, 4), dtype=np.float32))
    (artefacts / "losses.csv").write_text("block,epoch,loss\n")
    cost = {"wall_seconds": 1.0, "peak_memory_bytes": {"host": 1}, "bits_per_weight": None}
    write_json(scores / "record.json", cost | {"scored_with": params.scored_with()})
    made = {"recipe": params.cells[key].describe(), "made_with": params.made_with(key)}
    write_json(artefacts / "record.json", cost | made)


def test_table_refuses_to_mix_protocols(params: Params) -> None:
    for key in params.cells:
        write_scores(params, key, protocol="other" if key == "tiny-rtn" else "p")
    with pytest.raises(UserError, match=r"different protocols .*other: tiny-rtn"):
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
        values["cells"][f"tiny-omniquant-s{seed}"] = values["cells"]["tiny-omniquant"] | {"seed": seed}
        values["report"]["baselines"][f"tiny-omniquant-s{seed}"] = "tiny-rtn"
    values["protocol"]["tasks"] = ["piqa"]
    tiny_suite.write_params(Path(), values)
    edited = load_params()
    for key in set(edited.cells) - {"tiny-omniquant-s8"}:
        write_scores(edited, key)
    path = score_folder("tiny-omniquant-s7") / "summary.json"
    write_json(path, json.loads(path.read_text()) | {"diverged": True, "perplexity": {"perplexity": None}})
    results = load_results(edited)
    row = next(row for row in rows(edited, results) if row.label == "OmniQuant")
    assert row.keys == ("tiny-omniquant", "tiny-omniquant-s7", "tiny-omniquant-s8") and row.name == "tiny-omniquant"
    assert row.recovered is not None and row.recovered["accuracy"].n_seeds == 1, "of those that did not diverge"
    report(edited)
    text = show(edited)
    assert re.search(r"\| OmniQuant +\| w3a16g32 \| 2 of 3, conditional +\| +diverged \|", text)
    assert "Diverged, and left out of what is compared: OmniQuant w3a16g32 (1 of 3)." in text


def test_recovery_refuses_different_documents(params: Params) -> None:
    for key in params.cells:
        write_scores(params, key, doc_hash="x" if key == "tiny-rtn" else "h")
    with pytest.raises(UserError, match="scored on different documents"):
        rows(params, load_results(params))


def test_report_of_nothing_says_so_in_every_row(params: Params) -> None:
    with pytest.raises(UserError, match=r"no results/tiny/table.md yet; `dvc repro` makes it"):
        show(params)
    report(params)
    rows = [line for line in show(params).splitlines() if line.startswith(("| FP", "| RTN", "| Omni", "| Tess"))]
    assert len(rows) == 2 * len(params.cells) and all(re.search(r"\| +not run +\|", row) for row in rows)
    assert "5 of 5 cells were not run" in show(params)


def test_cell_that_diverged_is_shown_and_compared_with_nothing(params: Params) -> None:
    one_task = params.model_copy(update={"protocol": params.protocol.model_copy(update={"tasks": ("piqa",)})})
    for key in params.cells:
        write_scores(one_task, key)
    summary = json.loads((score_folder("tiny-rtn") / "summary.json").read_text())
    diverged = {"piqa": {"acc": None, "margin": None, "n_items": 1}}
    write_json(score_folder("tiny-rtn") / "summary.json", summary | {"diverged": True, "tasks": diverged})
    found = rows(one_task, load_results(one_task))
    compared = {row.keys[0] for row in found if row.recovered}
    assert compared == {"tiny-omniquant-sw", "tiny-tesseraq-sw"}, "tiny-omniquant's base is not finite"
    line = next(line for line in quality_table(one_task, found).markdown().splitlines() if line.startswith("| RTN"))
    assert line.count("diverged") == 3


def test_report_of_a_part_names_what_is_missing(params: Params) -> None:
    one_task = params.model_copy(update={"protocol": params.protocol.model_copy(update={"tasks": ("piqa",)})})
    for key in ("tiny-fp", "tiny-rtn", "tiny-omniquant"):
        write_scores(one_task, key)
    found = rows(one_task, load_results(one_task))
    assert {row.keys[0] for row in found if row.recovered} == {"tiny-omniquant"}
    report(one_task)
    text = show(one_task)
    assert "2 of 5 cells were not run" in text and len(re.findall(r"\| +not run +\|", text)) == 4
