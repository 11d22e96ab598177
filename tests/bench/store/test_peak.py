"""The most memory that a stage needed, over a run that was killed and the one that continued it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.store import peak
from bench.store.peak import keep_peak, peak_memory


def measured(monkeypatch: pytest.MonkeyPatch, **sizes: int) -> None:
    """Let a process with these peaks be the current one."""
    monkeypatch.setattr(peak, "peak_memory", lambda: sizes)


def test_peak_is_the_maximum_over_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state/peak.json"
    measured(monkeypatch, host=5, gpu=1)
    assert keep_peak(path) == {"host": 5, "gpu": 1}
    measured(monkeypatch, host=3, gpu=7)
    assert keep_peak(path) == {"host": 5, "gpu": 7}
    measured(monkeypatch, host=2)
    assert keep_peak(path) == {"host": 5, "gpu": 7}, "the last run saw no GPU"


def test_lower_peak_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "peak.json"
    measured(monkeypatch, host=5)
    keep_peak(path)
    before = path.stat().st_ino
    measured(monkeypatch, host=4)
    keep_peak(path)
    assert path.stat().st_ino == before


@pytest.mark.parametrize("content", ["", "[]", "null", '{"host": 9}', '{"bytes": 9}', '{"bytes": {"host": 9}}'])
def test_damaged_peak_counts_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    path = tmp_path / "peak.json"
    path.write_text(content)
    measured(monkeypatch, host=5)
    assert keep_peak(path) == keep_peak(path) == {"host": 5}


def test_changed_digit_is_no_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "peak.json"
    measured(monkeypatch, host=5)
    keep_peak(path)
    path.write_text(path.read_text().replace('"host": 5', '"host": 7'))
    assert keep_peak(path) == {"host": 5}


def test_peak_of_another_state_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured(monkeypatch, host=9)
    keep_peak(tmp_path / "other/peak.json")
    (tmp_path / "own").mkdir()
    (tmp_path / "other/peak.json").rename(tmp_path / "own/peak.json")
    measured(monkeypatch, host=5)
    assert keep_peak(tmp_path / "own/peak.json") == {"host": 5}


def test_this_process_has_a_peak() -> None:
    assert peak_memory()["host"] > 2**20
