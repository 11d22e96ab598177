"""What a user sees for a mistake in params.yaml: one line with the key, the value and what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.config.params import load_params
from bench.config.strict import parse_yaml
from swq.errors import UserError
from swq.methods.awq import AWQ
from swq.methods.tesseraq import TesseraQ
from swq.quant.scheme import Scheme
from tests.support import tiny_suite

Edit = Callable[[dict[str, Any]], object]


def message(folder: Path, edit: Edit) -> str:
    """Return what loading the tiny suite's params says after `edit`."""
    values = tiny_suite.params()
    edit(values)
    tiny_suite.write_params(folder, values)
    with pytest.raises(UserError) as caught:
        load_params(folder / "params.yaml")
    return str(caught.value).removeprefix(f"{folder}/")


def cell(key: str = "tiny-omniquant") -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda values: values["cells"][key]


def start(given: Any) -> Edit:
    return lambda values: cell("tiny-tesseraq-sw")(values)["method"].update(start=given)


def test_valid_params_become_typed(tmp_path: Path) -> None:
    tiny_suite.write_params(tmp_path, tiny_suite.params())
    params = load_params(tmp_path / "params.yaml")
    assert params.cells["tiny-rtn"].scheme == Scheme(3, 32)
    assert params.cells["tiny-omniquant-sw"].method_name == "omniquant"
    assert params.reference("tiny-rtn") == "tiny-fp"
    method = params.cells["tiny-tesseraq-sw"].method
    assert isinstance(method, TesseraQ) and method.start == AWQ() and method.thresholds == (0.5, 0.1)


DOCUMENTS = {"sampling": "gptq-documents"}


def hub_model(**changes: str) -> dict[str, str]:
    return {"source": "hub", "repo": "someone/model", "revision": "0" * 40} | changes


def seeds(values: dict[str, Any], seed: int, base: str | None = None, cell: str = "tiny-omniquant-sw") -> None:
    """Add another seed of a cell, by default OmniQuant + SW, and what it is compared with."""
    values["cells"]["again"] = values["cells"][cell] | {"seed": seed}
    if base:
        values["report"]["baselines"]["again"] = base


@pytest.mark.parametrize(
    ("edit", "parts"),
    [
        (lambda v: v.update(siute="x"), ["unknown key 'siute'", "did you mean 'suite'?"]),
        (lambda v: cell()(v).update(scheem="w3a16"), ["cells.tiny-omniquant", "unknown key 'scheem'", "'scheme'?"]),
        (
            lambda v: cell()(v).update(scheme="w5a16"),
            ["cells.tiny-omniquant.scheme", "w5a16", "weights of 5 bits are not supported (allowed: w2"],
        ),
        (lambda v: cell()(v).update(scheme="3bit"), ["'3bit'", "w3a16g64"]),
        (lambda v: cell()(v).update(scheme="w3a8"), ["'w3a8'", "16-bit activations"]),
        (lambda v: cell()(v).pop("scheme"), ["OmniQuant needs a scheme"]),
        (lambda v: cell("tiny-fp")(v).update(scheme="w3a16"), ["FullPrecision takes no scheme"]),
        (lambda v: cell("tiny-rtn")(v).update(loss={}), ["RTN takes no loss"]),
        (lambda v: cell()(v)["method"].update(name="omniqant"), ["unknown method 'omniqant'", "'omniquant'?"]),
        (lambda v: cell()(v)["method"].update(epoch=5), ["unknown key 'epoch'", "'epochs'?"]),
        (lambda v: cell()(v)["method"].update(epochs=0), ["epochs is 0", "at least 1"]),
        (lambda v: cell()(v)["method"].update(epochs="many"), ["cells.tiny-omniquant.method", "'many'"]),
        (lambda v: cell()(v)["loss"].update(weights={"mze": 1.0}), ["unknown loss term 'mze'", "'mse'?"]),
        (lambda v: cell()(v)["loss"].update(weights={"mse": -1.0}), ["loss weight of mse is -1.0"]),
        (lambda v: cell()(v)["loss"].update(sw_block_size=3), ["sw_block_size: 3 does not divide the 32 tokens"]),
        (lambda v: cell()(v).update(precision="fp16"), ["cells.tiny-omniquant.precision", "'16-mixed'", "'fp16'"]),
        (lambda v: cell()(v).update(model="tini"), ["cells.tiny-omniquant.model", "unknown model 'tini'", "'tiny'?"]),
        (lambda v: cell()(v).update(calibration="none"), ["cells.tiny-omniquant.calibration", "tiny-4x32"]),
        (start({"name": "awk"}), ["cells.tiny-tesseraq-sw.method: start", "unknown method 'awk'", "'awq'?"]),
        (start({"name": "fp"}), ["start: unknown method 'fp'", "(allowed: awq, omniquant, rtn)"]),
        (start({"name": "awq", "clp": True}), ["start: unknown key 'clp'", "'clip'?"]),
        (start({"name": "awq", "clip": "maybe"}), ["start: clip", "'maybe'"]),
        (start({"name": "omniquant", "epochs": 0}), ["start: omniquant: epochs is 0"]),
        (start("awq"), ["start: a method is a mapping such as { name: rtn }"]),
        (lambda v: cell()(v)["loss"].update(normalised=True), ["normalised needs sw (or sw_mismatched) and mse or l2"]),
        (lambda v: cell()(v).update(preset="a b"), ["cells.tiny-omniquant.preset", "letters, digits"]),
        (lambda v: v["protocol"].update(tasks=["winogrand"]), ["unknown task 'winogrand'", "'winogrande'?"]),
        (lambda v: v["protocol"].update(limit=0), ["protocol.limit", "greater than or equal to 1", "0"]),
        (lambda v: v["runtime"].update(device="tpu"), ["runtime.device", "'auto', 'cpu' or 'gpu'", "'tpu'"]),
        (lambda v: v["models"]["tiny"].update(source="hug"), ["models.tiny", "'package', 'folder', 'hub'"]),
        (lambda v: v["models"].update(m=hub_model(revision="main")), ["models.m.revision", "refs/pr/N", "'main'"]),
        (lambda v: v["models"].update(m=hub_model(revision="refs/pr/3")), ["models.m: revision refs/pr/3 can move"]),
        (lambda v: v["models"].update(m=hub_model(repo="opt-125m")), ["models.m.repo", "OWNER/NAME"]),
        (lambda v: v["corpora"].update(c={"source": "hub"}), ["corpora.c: names neither texts nor tasks"]),
        (lambda v: v["corpora"].update(c={"source": "hub", "tasks": {"pika": 1}}), ["corpora.c"]),
        (lambda v: v["calibrations"]["tiny-4x32"].update(text="train"), ["unknown text of corpus words 'train'"]),
        (lambda v: v["calibrations"]["tiny-4x32"].update(sampling="gptq"), ["tiny-4x32.sampling", "'gptq-joined'"]),
        (lambda v: v["protocol"]["perplexity"].update(texts={"c4": {}}), ["unknown text of corpus words 'c4'"]),
        (lambda v: v["protocol"]["perplexity"].update(texts={"perplexity": DOCUMENTS}), ["needs n_windows"]),
        (
            lambda v: v["protocol"]["perplexity"].update(texts={"perplexity": {"n_windows": 4}}, kl_windows=5),
            ["protocol.perplexity", "kl_windows: 5 are more than texts.perplexity has (4)"],
        ),
        (lambda v: v["protocol"].update(task_versions={"piqa": 1.0}), ["task_versions: must name every task"]),
        (lambda v: v["protocol"].update(dtype="fp16"), ["protocol.dtype", "'float16'", "'fp16'"]),
        (lambda v: v["models"]["tiny"].pop("source"), ["models.tiny", "'source' is missing", "package, folder"]),
        (lambda v: v["models"].update(m={"source": "package", "package": "x"}), ["models.m.package", "NAME==VERSION"]),
        (lambda v: cell()(v).update(loss="mse"), ["cells.tiny-omniquant.loss", "{ weights: { mse: 0.9"]),
        (lambda v: v["protocol"].update(tasks=["piqa", "piqa"]), ["protocol", "each may be named only once"]),
        (
            lambda v: v["report"]["baselines"].update({"tiny-rtn": "tiny-rtn"}),
            ["report.baselines.tiny-rtn: a cell cannot be its own base"],
        ),
        (lambda v: cell("tiny-rtn")(v).update(scheme="w2a16g32"), ["same scheme", "w3a16g32", "w2a16g32"]),
        (lambda v: v["models"]["tiny"].update(pth="x"), ["models.tiny", "unknown key 'pth'", "'path'?"]),
        (lambda v: v["report"]["baselines"].update({"tiny-rtn": "rtn"}), ["report.baselines.tiny-rtn", "'rtn'"]),
        (lambda v: v["cells"].update({"a.b": v["cells"]["tiny-fp"]}), ["cells", "a.b"]),
        (lambda v: v.pop("runtime"), ["runtime", "is missing"]),
        (lambda v: seeds(v, 2), ["cells.again: it repeats tiny-omniquant-sw, with the same seed"]),
        (
            lambda v: seeds(v, 3, cell="tiny-omniquant"),
            ["cells.again: it repeats tiny-omniquant, with another seed that has no effect"],
        ),
        (
            lambda v: seeds(v, 3, cell="tiny-rtn"),
            ["cells.again: it repeats tiny-rtn, with another seed that has no effect"],
        ),
        (lambda v: seeds(v, 3), ["report.baselines: tiny-omniquant-sw and again are seeds of one row"]),
        (lambda v: seeds(v, 3, "tiny-omniquant"), ["report.baselines.again: tiny-omniquant has other seeds"]),
    ],
)
def test_mistake_is_named_in_one_line(tmp_path: Path, edit: Edit, parts: list[str]) -> None:
    said = message(tmp_path, edit)
    assert "\n" not in said and said.startswith("params.yaml: ")
    assert all(part in said for part in parts), said


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no .*params.yaml here"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("cells: [")
    with pytest.raises(UserError, match="not valid YAML"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("just text")
    with pytest.raises(UserError, match="must hold a mapping"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize("text", ["suite: a\ncells: {}\nsuite: b", "cells: { a: { seed: 1, seed: 2 } }"])
def test_key_that_stands_twice_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(
        UserError, match=r"params.yaml is not valid YAML: line .: the key '(suite|seed)' is there twice"
    ):
        load_params(tmp_path / "params.yaml")


def test_text_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("suite: a\nseed: 2024-13-45")
    with pytest.raises(UserError, match=r"params.yaml is not valid YAML: month must be in"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_bytes("suite: é".encode("latin-1"))
    with pytest.raises(UserError, match=r"params.yaml is not UTF-8: byte 7 is 0xe9"):
        load_params(tmp_path / "params.yaml")


def test_merged_key_may_be_replaced() -> None:
    text = "x: &x { a: 1 }\ny: &y { <<: *x, a: 2 }\nz: { <<: *y, a: 3 }"
    assert parse_yaml(text, "t") == {"x": {"a": 1}, "y": {"a": 2}, "z": {"a": 3}}


def test_scientific_notation_is_a_number(tmp_path: Path) -> None:
    """PyYAML reads 1e-3 as text; a learning rate written so must still arrive as a number."""
    tiny_suite.write_params(tmp_path, tiny_suite.params())
    path = tmp_path / "params.yaml"
    path.write_text(path.read_text().replace("epochs: 2", "epochs: 2\n      lwc_lr: 1e-3", 1))
    method: Any = load_params(path).cells["tiny-omniquant"].method
    assert method.lwc_lr == 0.001
