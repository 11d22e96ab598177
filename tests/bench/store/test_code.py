"""The code that decides a result, as dvc.yaml lists it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from bench.store.code import code_of
from swq.files import sha256_file
from tests.support.repository import ROOT

STAGES = {
    "plain": {"deps": ["bench/a.py", "conf/x.yaml"]},
    "each": {"do": {"deps": ["swq/folder", "swq/${item.method.name}.py", "data/${item.model}"]}},
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}))
    for name in ("bench/a.py", "swq/folder/b.py", "swq/folder/below/c.py", "swq/folder/b.txt", "swq/rtn.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_files_and_folders_of_code_are_hashed(project: Path) -> None:
    assert code_of("plain") == {"bench/a.py": sha256_file(project / "bench/a.py")}
    found = code_of("each", {"item.method.name": "rtn"})
    assert list(found) == ["swq/folder/b.py", "swq/folder/below/c.py", "swq/rtn.py"]


def test_edited_file_has_another_hash(project: Path) -> None:
    before = code_of("each", {"item.method.name": "rtn"})
    (project / "swq/folder/below/c.py").write_text("edited")
    after = code_of("each", {"item.method.name": "rtn"})
    assert {name for name in before if before[name] != after[name]} == {"swq/folder/below/c.py"}


def test_code_of_this_projects_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    trained, scored = code_of("reconstruct", {"item.method.name": "tesseraq"}), code_of("score")
    assert {"swq/methods/tesseraq/rounding.py", "swq/losses.py", "swq/reconstruct/runner.py"} <= set(trained)
    assert "swq/losses.py" not in scored and "bench/scoring/harness.py" in scored
    assert not [name for name in {**trained, **scored} if "$" in name]
