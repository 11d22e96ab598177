"""A suite with a plan: answers with a bound, SW beside its placebo, and what departs from the plan."""

from __future__ import annotations

import copy
import csv
import io
import json
import shutil
from contextlib import chdir
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest

from bench.analysis.collect import collect
from bench.analysis.departures import departures
from bench.analysis.rows import measured
from bench.config.params import Params, load_params
from bench.config.plan import PlanFile
from bench.report.arms import beside_placebos
from bench.report.numbers import placebo_csv
from bench.report.plan import as_planned
from bench.report.plots.effect import plot_effect
from bench.report.tables.answers import NO_EFFECT
from bench.report.tables.sw_effect import sw_effect_table
from bench.report.tables.sw_placebo import sw_placebo_table
from bench.runs.import_raw import import_raw
from bench.runs.show import show
from bench.stages.report import report
from bench.store.items import Item
from bench.store.paths import raw_folder
from swq.identity import fingerprint
from tests.support import scores, tiny_suite

SEEDS = range(1, 6)
PLAN: dict[str, Any] = {
    "primary": "log_perplexity",
    "arms": {"omniquant-sw": ["omniquant-mismatched"]},
    "seeds": list(SEEDS),
    "bound": 2.0,
    "exclusions": ["No window is left out."],
}
GAINED = {"omniquant": 0.0, "omniquant-sw": 0.101, "omniquant-mismatched": 0.1}  # of what was lost
DOCUMENTS = [Item("piqa", n, f"h{n}", 0, (-1.0, -2.0)) for n in range(4)]


def suite(plan: dict[str, Any] | None) -> Params:
    """The tiny suite with five seeds of OmniQuant, with SW, and with a placebo."""
    values = tiny_suite.params()
    values["protocol"]["tasks"] = ["piqa"]
    values["cells"]["tiny-omniquant-sw"]["method"].pop("aug_loss")
    values["cells"]["tiny-omniquant-mismatched"] = copy.deepcopy(values["cells"]["tiny-omniquant-sw"])
    values["cells"]["tiny-omniquant-mismatched"]["loss"]["weights"] = {"mse": 0.9, "sw_mismatched": 0.1}
    cells = {key: values["cells"][key] for key in ("tiny-fp", "tiny-rtn")}
    values["report"]["baselines"] = {}
    for seed in SEEDS:
        for row in GAINED:
            cells[f"tiny-{row}-s{seed}"] = tiny_suite.of_seed(values, f"tiny-{row}", seed)
            base = "tiny-rtn" if row == "omniquant" else f"tiny-omniquant-s{seed}"
            values["report"]["baselines"][f"tiny-{row}-s{seed}"] = base
    values["cells"] = cells
    if plan:
        full = PlanFile.model_validate(plan).as_data()
        values["plan"] = {"name": "mine", "sha256": fingerprint(full)} | full
    tiny_suite.write_params(Path(), values)
    return load_params()


def run(params: Params, key: str, sha256: str | None) -> None:
    """Write scores of 12 windows: a nat is lost, and of it is gained what GAINED says, but for a little noise."""
    row, _, seed = key.removeprefix("tiny-").rpartition("-s") if key[-1].isdigit() else (key[5:], "", "0")
    draw = np.random.default_rng([int(seed), list(params.cells).index(key)])
    windows = 2.0 + np.linspace(0, 0.1, 12)
    if row != "fp":
        windows = windows + 1.0 - GAINED.get(row, -0.1) + draw.normal(0, 1e-3, 12)
    scores.write_scores(params, key, DOCUMENTS, windows=windows.tolist())
    scores.note_plan(key, sha256)


@pytest.fixture(scope="module")
def as_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the suite and its plan, every cell run by it."""
    folder = tmp_path_factory.mktemp("planned")
    with chdir(folder):
        params = suite(PLAN)
        assert params.plan is not None
        for key in params.cells:
            run(params, key, params.plan.sha256)
        collect(params)
    return folder


@pytest.fixture
def params(as_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """The suite in the current folder, which is a copy."""
    shutil.copytree(as_run, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return load_params()


def departed(plan: dict[str, Any] = PLAN) -> list[str]:
    params = suite(plan)
    assert params.plan is not None
    return departures(measured(params), params.plan)


def test_as_planned(params: Params) -> None:
    report(params)
    page = Path("results/tiny/table.md").read_text(encoding="utf-8")
    assert params.plan is not None
    said = f"As planned (plan `mine`, SHA-256 {params.plan.sha256[:12]}). Primary is log-perplexity."
    assert f"{said} Excluded by the plan: No window is left out." in page
    effects = page.split("## Quality")[0]
    assert said in effects and "### SW beside its placebos" in effects and "an interval inside ±2 %" in effects
    assert Path("results/tiny/sw_placebo.tex").is_file()
    assert said in show(params)
    raw("tiny-omniquant-sw-s2").unlink()
    shutil.rmtree("scores/tiny-omniquant-sw-s2")
    report(params)
    assert "Departs from the plan (plan `mine`" in show(params)


def test_sw_helps_but_no_more_than_its_placebo(params: Params) -> None:
    suite_ = measured(params)
    (alone,), (beside,) = sw_effect_table(suite_).rows, sw_placebo_table(suite_).rows
    assert alone[:3] == ["OmniQuant + SW", "w3a16g32", "5"] and alone[3].startswith("helps: 10.")
    assert beside[:4] == ["OmniQuant + SW", "w3a16g32", "5", "omniquant-mismatched"]
    assert beside[4].startswith("no effect of practical size: 0.")
    assert all(cell.startswith("open: n/a") for cell in (*alone[4:], *beside[5:])), "no answer changed"
    lines = {line["measure"]: line for line in csv.DictReader(io.StringIO(placebo_csv(beside_placebos(suite_))))}
    line = lines["log_perplexity"]
    assert (line["placebo"], line["n_seeds"]) == ("omniquant-mismatched", "5")
    ends = [f"{100 * float(line[name]):.1f}" for name in ("share", "share_low", "share_high")]
    assert beside[4].endswith(f"{ends[0]} [{ends[1]}, {ends[2]}]")


def test_pooled_arms_are_one_line_with_the_seeds_that_all_have(params: Params) -> None:
    """Pooling a single arm says what that arm says, beside its base and beside its placebo."""
    one = measured(suite(PLAN | {"pooled": ["omniquant-sw"]}))
    for table in (sw_effect_table(one), sw_placebo_table(one)):
        alone, whole = table.rows
        assert whole[0] == f"pooled: {alone[0]}" and whole[1:] == alone[1:]
    report(one.params)
    metrics = json.loads(Path("results/tiny/metrics.json").read_text(encoding="utf-8"))
    shares = metrics["tiny-pooled"]["recovered"]
    assert metrics["tiny-pooled"]["called"] == "pooled: OmniQuant + SW" and list(shares) == ["log_perplexity"]
    assert shares == metrics["tiny-omniquant-sw"]["recovered"]
    said = {"log_perplexity": "helps"}  # the plan's measure alone
    assert (metrics["tiny-pooled"]["seeds"], metrics["tiny-pooled"]["answers"]) == (5, said)
    beyond = [metrics[name]["beyond_placebo"]["omniquant-mismatched"] for name in ("tiny-pooled", "tiny-omniquant-sw")]
    assert beyond[0] == beyond[1] and beyond[0]["answers"] == said | {"log_perplexity": NO_EFFECT}
    two = PLAN | {
        "arms": PLAN["arms"] | {"omniquant-mismatched": []},
        "pooled": ["omniquant-sw", "omniquant-mismatched"],
    }
    effects = sw_effect_table(measured(suite(two))).rows
    assert effects[-1][0] == "pooled: OmniQuant + SW, OmniQuant + placebo" and effects[-1][3].startswith("helps: 10.")
    assert len(sw_placebo_table(measured(suite(two))).rows) == 1, "not every pooled arm has a placebo"
    raw("tiny-omniquant-mismatched-s2").unlink()
    assert sw_effect_table(measured(suite(two))).rows[-1][2] == "4 of 5, provisional"
    for path in raw_folder("tiny").glob("tiny-omniquant-mismatched-*"):
        path.unlink()
    assert len(sw_effect_table(measured(suite(two))).rows) == 1, "which arm came first must not decide"


def test_plot_shows_placebos_the_pooled_arms_and_the_bound(params: Params) -> None:
    pooled = PLAN | {"pooled": ["omniquant-sw"]}
    beyond = ["beyond omniquant-mismatched"]
    for plan, more in ((pooled, [*beyond, "pooled", *beyond]), (PLAN, beyond), (None, [])):
        figure = plot_effect(measured(suite(plan)))
        assert figure is not None
        (panel,) = figure.axes
        assert [label.get_text() for label in panel.get_yticklabels()] == ["OmniQuant + SW", *more]
        dots = [len(line.get_xdata()) for line in panel.lines if line.get_color() == "gray"]  # type: ignore[arg-type]
        assert dots == [5, 5][: 1 + len(more)], "a dot a seed; the pooled ones have none of their own"
        bands = [patch.get_extents().transformed(panel.transData.inverted()) for patch in panel.patches]
        assert [(round(band.x0, 6), round(band.x1, 6)) for band in bands] == ([(-2, 2)] if plan else [])
        plt.close(figure)


def test_without_a_plan_nothing_is_said(params: Params) -> None:
    found = measured(suite(None))
    assert as_planned(found) == [] and sw_placebo_table(found).rows == [] and len(sw_effect_table(found).rows) == 1


def test_bound_holds_for_what_the_plan_names(params: Params) -> None:
    """It was not named for other rows and measures."""
    wide = PLAN | {"bound": 15.0}
    (line,) = sw_effect_table(measured(suite(wide))).rows
    assert line[3].startswith("no effect of practical size: 10.")
    others: tuple[dict[str, Any], ...] = ({"primary": "accuracy"}, {"arms": {"omniquant-mismatched": []}})
    for other in others:
        (line,) = sw_effect_table(measured(suite(wide | other))).rows
        assert line[3].startswith("helps: 10.")


def raw(key: str) -> Path:
    return raw_folder("tiny") / f"{key}.json.xz"


def test_each_departure_is_named(params: Params) -> None:
    assert departed() == []
    raw("tiny-omniquant-sw-s2").unlink()
    raw("tiny-omniquant-sw-s4").unlink()
    assert departed() == ["row omniquant-sw w3a16g32 lacks seeds 2, 4"]
    for path in raw_folder("tiny").glob("tiny-omniquant-mismatched-*"):
        path.unlink()
    assert departed()[1:] == ["row omniquant-mismatched w3a16g32 was not run"]
    changed = departed(PLAN | {"seeds": [1, 2, 3, 4], "bound": 3.0})
    assert changed[0] == "row omniquant w3a16g32 has more than planned: seed 5"
    assert changed[-1] == "10 of 10 cells were run before this plan or by another one, tiny-fp among them"
    assert as_planned(measured(suite(PLAN)))[0].startswith("Departs from the plan (plan `mine`, SHA-256 ")


def test_what_ran_before_the_plan_is_shown_and_named(params: Params) -> None:
    run(params, "tiny-omniquant-sw-s3", None)
    collect(params)
    assert len(measured(params).results) == len(params.cells)
    assert departed() == [
        f"1 of {len(params.cells)} cells were run before this plan or by another one, tiny-omniquant-sw-s3 among them"
    ]


def test_diverged_seed_is_named(params: Params) -> None:
    scores.diverge_on_text("tiny-omniquant-mismatched-s1")
    collect(params)
    assert departed() == ["row omniquant-mismatched w3a16g32 diverged with seed 1"]
    (line,) = sw_placebo_table(measured(params)).rows
    assert line[2] == "4 of 5, provisional" and line[4].startswith(("open: 0.", "better with these seeds: 0."))


def test_import_refuses_another_plan(params: Params) -> None:
    assert params.plan is not None
    run(params, "tiny-omniquant-s1", None)
    run(params, "tiny-omniquant-s2", "0" * 64)
    collect(params)
    Path("others").mkdir()
    for seed in (1, 2, 3):
        raw(f"tiny-omniquant-s{seed}").rename(f"others/tiny-omniquant-s{seed}.json.xz")
    said, refused = import_raw(params, [Path("others")])
    assert said == ["tiny-omniquant-s3: imported"]
    for line, given in zip(refused, ("none", f"'{'0' * 64}'"), strict=True):
        assert f"has another plan: reconstruct ran with {given}, and params.yaml has '{params.plan.sha256}'" in line
    said, refused = import_raw(suite(None), [Path("others")])
    assert len(said) == 3 and refused == [], "without a plan a suite is bound to nothing"
