"""params.yaml from conf/: what is committed is what conf/ says, and nothing made by hand is lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench.config.compose import HEADER, OVER, compose, overrides_of
from bench.config.params import load_params
from bench.preflight.check import check
from swq.errors import UserError
from tests.support.repository import ROOT


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the project's conf/ and params.yaml, and the current one."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_committed_params_are_what_conf_composes_to(project: Path) -> None:
    committed = (project / "params.yaml").read_text()
    compose("bundled")
    assert (project / "params.yaml").read_text() == committed
    assert committed.startswith(HEADER)


def test_change_in_conf_arrives(project: Path) -> None:
    protocol = project / "conf/protocol/quick.yaml"
    protocol.write_text(protocol.read_text().replace("limit: 50", "limit: 7"))
    compose("bundled")
    assert "limit: 7" in (project / "params.yaml").read_text()


def test_change_by_hand_is_shown_and_kept(project: Path) -> None:
    params = project / "params.yaml"
    edited = params.read_text().replace("limit: 50", "limit: 9")
    params.write_text(edited)
    with pytest.raises(UserError, match=r"(?s)edited by hand.*-  limit: 50\n\+  limit: 9"):
        compose("bundled")
    assert params.read_text() == edited
    compose("bundled", force=True)
    assert "limit: 50" in params.read_text()


@pytest.mark.parametrize(
    ("file", "line"), [("preset/omniquant-fork.yaml", "seed: 1\n"), ("protocol/quick.yaml", "protocol: {}\n")]
)
def test_key_that_stands_twice_is_refused(project: Path, file: str, line: str) -> None:
    path = project / "conf" / file
    path.write_text(path.read_text() + line)
    with pytest.raises(UserError, match=rf"conf/{file} .*'(seed|protocol)' is there twice"):
        compose("bundled")


@pytest.mark.parametrize("text", ["cells: [", "- a list", "", "suite: bundled\nsuite: bundled"])
def test_params_that_are_no_mapping_count_as_edited(project: Path, text: str) -> None:
    (project / "params.yaml").write_text(text)
    with pytest.raises(UserError, match="edited by hand"):
        compose("bundled")
    assert (project / "params.yaml").read_text() == text


def test_typo_in_the_suites_name_is_said_and_no_file_is_listed(project: Path) -> None:
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("suite: bundled", "suite: bundle"))
    with pytest.raises(UserError, match=r"names no suite of conf/; correct it, or compose with --force") as raised:
        compose("bundled")
    assert str(raised.value).count("\n") == 0


def test_suite_without_its_first_line_is_told_so(project: Path) -> None:
    (project / "conf/suite/mine.yaml").write_text("suite: mine\n")
    with pytest.raises(UserError, match=r"conf/suite/mine.yaml must begin with the line `# @package _global_`"):
        compose("mine")


def test_other_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"there is no conf/ here; run from the repository's top folder"):
        compose("bundled")


def test_unknown_suite_is_named(project: Path) -> None:
    with pytest.raises(UserError, match="unknown suite 'bundle'; did you mean 'bundled'"):
        compose("bundle")


def test_invalid_conf_changes_nothing(project: Path) -> None:
    before = (project / "params.yaml").read_text()
    suite = project / "conf/suite/bundled.yaml"
    suite.write_text(suite.read_text().replace("w3a16g64", "w7a16g64"))
    with pytest.raises(UserError, match=r"^conf/ for suite bundled: cells.bundled-rtn.scheme: scheme 'w7a16g64': "):
        compose("bundled")
    assert (project / "params.yaml").read_text() == before
    assert sorted(p.name for p in project.iterdir()) == ["conf", "params.yaml"]


def test_settings_go_over_the_suite_and_are_remembered(project: Path) -> None:
    compose("bundled", ["protocol.limit=7", "runtime.threads=1", "models.smollm2-135m.file='a b'"])
    assert overrides_of((project / "params.yaml").read_text())[2] == "models.smollm2-135m.file='a b'"
    compose("bundled", ["protocol.limit=7", "runtime.threads=1"])
    params = load_params()
    assert params.protocol.limit == 7 and params.runtime.threads == 1
    assert "conf/" not in check(params), "what it was composed with is no difference to conf/"
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("limit: 7", "limit: 8"))
    assert "note: params.yaml was edited by hand" in check(load_params())
    with pytest.raises(UserError, match=r"(?s)edited by hand.*-  limit: 7\n\+  limit: 8"):
        compose("bundled")
    (project / "params.yaml").write_text(text)
    compose("bundled")
    assert load_params().protocol.limit == 50


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("protocl.limit=7", "setting 'protocl.limit': conf/ holds no such value"),
        ("protocol.limit", "missing EQUAL"),
        ("cells.bundled-omniquant-sw.loss.weights.sw=0.2", "values of a grid or a preset are changed in conf/suite"),
        ("runtime.threads=${x}", "does not compose: .*x"),
        ("protocol.limit=0", "protocol.limit"),
        ("suite=paper", "says suite: 'paper'"),
    ],
)
def test_mistake_in_a_setting_is_named(project: Path, setting: str, said: str) -> None:
    before = (project / "params.yaml").read_text()
    with pytest.raises(UserError, match=said):
        compose("bundled", [setting])
    assert (project / "params.yaml").read_text() == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("grid: []\nreport: { baselines: [a] }", "baselines: beside a grid it must be a mapping"),
        ("grid: []\ncells: [a]", "cells: beside a grid it must be a mapping"),
        ("grid: [{ models: [m], rows: { x: { calibration: '${seed}' } } }]", "does not compose: .*seed"),
    ],
)
def test_mistake_in_a_suite_ends_in_one_line(project: Path, text: str, said: str) -> None:
    (project / "conf/suite/mine.yaml").write_text(f"# @package _global_\nsuite: mine\n{text}\n")
    with pytest.raises(UserError, match=said) as caught:
        compose("mine")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("7", "must hold a mapping"),
        ("hydra: null", "the key 'hydra' would configure Hydra itself"),
        ("defaults: null", "does not compose: .*defaults must be a list"),
        ("defaults: [7]", "defaults: 7 is no file's name, such as /protocol/quick"),
        ("defaults: [{}]", "defaults: {} is no file's name"),
        ("defaults: [{ 1: 2 }]", "defaults: .*1: 2.* is no file's name"),
        ("defaults: ['']", "defaults: '' is no file's name"),
        (f"defaults: [{'x' * 300}]", "defaults: 'xxx.*xxx' is no file's name"),
        ("a: &a [*a]", "the alias 'a' stands inside what it names"),
        ("a: !!timestamp x", "the tag .* has no meaning here"),
    ],
)
def test_what_hydra_breaks_on_is_named(project: Path, text: str, said: str) -> None:
    (project / "conf/suite/mine.yaml").write_text(f"# @package _global_\n{text}\n")
    with pytest.raises(UserError, match=rf"conf/.*{said}") as caught:
        compose("mine")
    assert "\n" not in str(caught.value)


def test_damaged_line_of_settings_is_named(project: Path) -> None:
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("\n", f"\n{OVER}'\n", 1))
    with pytest.raises(UserError, match=r"^the line .* cannot be read: No closing quotation; it was edited by hand"):
        compose("bundled")


def test_conf_that_changed_is_told_from_an_edit(project: Path) -> None:
    compose("bundled")
    protocol = project / "conf/protocol/quick.yaml"
    protocol.write_text(protocol.read_text().replace("limit: 50", "limit: 7"))
    assert check(load_params()).count("`python -m bench compose bundled` takes the change over") == 1
