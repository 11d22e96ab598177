"""Plans: a suite names one, params.yaml holds it with its hash, and what it cannot be run by is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic_core import PydanticCustomError

from bench.analysis.compare import DIVERGENCE, MEASURES
from bench.config.compose import compose, composed
from bench.config.params import Params, load_params
from bench.config.plan import Measure, check_plan, placebo_of, planned_cells
from bench.config.strict import parse_section
from bench.report.tables.columns import CALLED
from bench.store.record import provenance
from swq.errors import UserError
from tests.support.repository import ROOT

Edit = Callable[[dict[str, Any]], object]
PLAN = Path("conf/plan/placebo.yaml")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the project's conf/, and the current one."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def edited(edit: Edit) -> str:
    """Edit the plan, and return what composing its suite says."""
    values = yaml.safe_load(PLAN.read_text())
    edit(values)
    PLAN.write_text(yaml.safe_dump(values))
    with pytest.raises(UserError) as caught:
        compose("placebo")
    assert len(str(caught.value).splitlines()) == 1 and not Path("params.yaml").exists()
    return str(caught.value)


def test_plan_travels_with_its_hash(project: Path) -> None:
    compose("placebo")
    plan = load_params().plan
    assert plan is not None and plan.name == "placebo" and plan.seeds == tuple(range(1, 13)) and plan.bound == 4
    assert provenance()["plan_sha256"] == plan.sha256
    text = PLAN.read_text()
    PLAN.write_text(f"# why\n{text}")
    compose("placebo")
    assert load_params().plan == plan, "comments decide nothing"
    PLAN.write_text(text.replace("bound: 4", "bound: 3"))
    compose("placebo")
    assert provenance()["plan_sha256"] == load_params().plan.sha256 != plan.sha256  # type: ignore[union-attr]
    compose("bundled")
    assert load_params().plan is provenance()["plan_sha256"] is None


def test_suite_placebo_is_what_its_plan_says(project: Path) -> None:
    params = parse_section(Params, composed("placebo"), "conf/")
    assert params.plan is not None
    planned = planned_cells(params.plan, params.suite, params.cells, params.report.baselines)
    assert set(params.cells) - set(planned) == {
        "placebo-smollm2-135m-fp",
        "placebo-smollm2-135m-w3a16g64-rtn",
    }
    key = "placebo-smollm2-135m-w3a16g64-omniquant-{}-s12"
    placebo = placebo_of(params.suite, params.cells, key.format("sw"), "omniquant-scaled")
    assert placebo == key.format("scaled")
    assert params.protocol.perplexity.start_token and all(c.start_token for c in params.calibrations.values())


def test_every_measure_can_be_planned() -> None:
    assert set(get_args(Measure)) == {*MEASURES, DIVERGENCE} == set(CALLED)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (
            lambda p: p.update(primary="perplexity"),
            "placebo.yaml: primary: Input should be 'log_perplexity',",
        ),
        (lambda p: p.update(secondary=["log_perplexity"]), "secondary: log_perplexity is named twice"),
        (lambda p: p.update(bound=0), "bound: Input should be greater than 0 (given: 0)"),
        (lambda p: p.update(bound=-1), "bound: Input should be greater than 0"),
        (lambda p: p.update(bound=float("nan")), "bound: Input should be "),
        (lambda p: p.update(seeds=[]), "seeds: "),
        (lambda p: p.update(seeds=[3, 4, 3]), "seeds: 3 is named twice"),
        (lambda p: p.update(seeds=[1, 13]), "plan.seeds: row omniquant-sw of the suite has no seed 13"),
        (lambda p: p.update(arms={}), "arms: "),
        (lambda p: p["arms"].update({"omniqant-sw": []}), "plan.arms: unknown row 'omniqant-sw'; did you mean"),
        (lambda p: p["arms"].update({"tesseraq-sw": ["sham"]}), "plan.arms.tesseraq-sw: unknown row 'sham'"),
        (lambda p: p["arms"].update({"tesseraq-sw": ["tesseraq-sw"]}), "arms.tesseraq-sw: tesseraq-sw is named twice"),
        (lambda p: p["arms"].update({"tesseraq-sw": ["fp"]}), "plan.arms.tesseraq-sw: row fp has no cell of placebo-"),
        (
            lambda p: p["arms"].update({"tesseraq-sw": ["tesseraq"]}),
            "plan.arms.tesseraq-sw: row tesseraq is its base, and so no placebo",
        ),
        (
            lambda p: p["arms"].update({"tesseraq-sw": ["omniquant-scaled"]}),
            "plan.arms.tesseraq-sw: row omniquant-scaled is of another method, and so no placebo",
        ),
        (
            lambda p: p.update(arms={"omniquant-sv": []} | {"tesseraq-sw": []}),
            "plan.arms: unknown row 'omniquant-sv'; did you mean 'omniquant-sw'",
        ),
        (lambda p: p["arms"].update({"fp": []}), "plan.seeds: row fp of the suite has no seed 1"),
        (lambda p: p.update(pooled=["omniquant"]), "pooled: unknown arm 'omniquant'"),
        (lambda p: p.update(sha256="0"), "unknown key 'sha256'"),
        (lambda p: p.pop("bound"), "bound: is missing"),
    ],
)
def test_mistake_in_a_plan_is_named(project: Path, edit: Edit, said: str) -> None:
    assert said in edited(edit)


def test_arm_needs_a_base(project: Path) -> None:
    suite = Path("conf/suite/placebo.yaml")
    suite.write_text(suite.read_text().replace("fork-sw, base: omniquant }", "fork-sw, base: null }"))
    assert ": plan.arms.omniquant-sw: cell placebo-smollm2-135m-w3a16g64-omniquant-sw-s1 has no base" in edited(dict)


@pytest.mark.parametrize("named", ["placebos", "3", "{ primary: accuracy }", "[a]"])
def test_plan_that_is_not_there_is_named(project: Path, named: str) -> None:
    suite = Path("conf/suite/placebo.yaml")
    suite.write_text(suite.read_text().replace("plan: placebo", f"plan: {named}"))
    assert edited(dict).startswith("plan: unknown plan ")


def test_arms_of_several_models_are_not_pooled(project: Path) -> None:
    params = parse_section(Params, composed("placebo"), "conf/")
    cell = params.cells["placebo-smollm2-135m-w3a16g64-omniquant-sw-s1"]
    cells = params.cells | {"placebo-other-w3a16g64-omniquant-sw-s1": cell.model_copy(update={"model": "other"})}
    assert params.plan is not None
    with pytest.raises(PydanticCustomError, match=r"plan.pooled: the arms have cells of several models"):
        check_plan(params.plan, params.suite, cells, params.report.baselines, params.protocol)


def test_divergence_is_planned_only_where_it_is_measured(project: Path) -> None:
    with pytest.raises(UserError, match=r"plan: divergence is not measured; protocol.perplexity.kl_windows"):
        compose("placebo", ["protocol.perplexity.kl_windows=null"])


def test_plan_that_was_changed_in_params_is_refused(project: Path) -> None:
    compose("placebo")
    params = Path("params.yaml")
    params.write_text(params.read_text().replace("bound: 4.0", "bound: 3.0"))
    with pytest.raises(UserError, match=r"sha256 is not that of the plan; it was changed here, and not in conf/plan"):
        load_params()
