"""A plan: what a suite is run for, named before the run. It decides no result, only what is said of the results."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from bench.config.cell import Cell
from bench.config.protocol import Protocol
from bench.config.strict import Name, Strict, mistake, read_section
from swq.errors import UserError, one_of
from swq.identity import fingerprint

PLANS = Path("conf/plan")

Cells = Mapping[str, Cell]
Measure = Literal["log_perplexity", "log_probability", "accuracy", "divergence"]


class PlanFile(Strict):
    """A file of conf/plan/. Rows have the names that they have in the suite's grid.

    Attributes:
        primary: the measure that decides.
        secondary: measures that stand beside it.
        arms: rows that are tested against their bases; for each, its placebos, which may be none.
        seeds: of every arm, its base and its placebos.
        bound: percentage points of the recovered share. Inside ±bound, an effect has no practical size.
        pooled: arms of one model, over which one share is taken too: beside their bases, and beside their first
            placebos, their second ones, and so on.
        exclusions: what will be left out, and when, as sentences for people.
    """

    primary: Measure
    secondary: tuple[Measure, ...] = ()
    arms: dict[Name, tuple[Name, ...]] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(min_length=1)
    bound: float = Field(gt=0, lt=float("inf"))
    pooled: tuple[Name, ...] = ()
    exclusions: tuple[str, ...] = ()

    @property
    def measures(self) -> tuple[Measure, ...]:
        return (self.primary, *self.secondary)

    @model_validator(mode="after")
    def _consistent(self) -> PlanFile:
        lists: dict[str, tuple[Any, ...]] = {"secondary": self.measures, "seeds": self.seeds, "pooled": self.pooled}
        for name, values in (lists | {f"arms.{arm}": (arm, *placebos) for arm, placebos in self.arms.items()}).items():
            if twice := [value for value in values if values.count(value) > 1]:
                raise mistake(f"{name}: {twice[0]} is named twice")
        return self


class Plan(PlanFile):
    """A plan as params.yaml holds it, with its name and the SHA-256 over its fields, which every result records."""

    name: Name
    sha256: str

    @model_validator(mode="after")
    def _is_the_file(self) -> Plan:
        if self.sha256 != _sha256(self):
            raise mistake(f"sha256 is not that of the plan; it was changed here, and not in {PLANS}/{self.name}.yaml")
        return self


def _sha256(plan: PlanFile) -> str:
    return fingerprint({key: v for key, v in plan.as_data().items() if key in PlanFile.model_fields})


def read_plan(name: Any) -> dict[str, Any]:
    """Return the section of params.yaml for the plan that a suite names.

    Raises:
        UserError: there is no such plan, or it is not valid.
    """
    plans = sorted(path.stem for path in PLANS.glob("*.yaml"))
    if name not in plans:
        raise UserError(f"plan: {one_of('plan', str(name), plans)}")
    plan = read_section(PlanFile, PLANS / f"{name}.yaml")
    return {"name": name, "sha256": _sha256(plan)} | plan.as_data()


def own_part(suite: str, cell: Cell, key: str) -> str:
    """Return a cell's key without suite, model and scheme."""
    for part in (suite, cell.model, cell.scheme):
        key = key.removeprefix(f"{part}-")
    return key


def row_of(suite: str, cell: Cell, key: str) -> str:
    """Return the name of a cell's row in its suite's grid."""
    return re.sub(r"-s\d+$", "", own_part(suite, cell, key))


def cells_of(suite: str, cells: Cells, row: str) -> list[str]:
    """Return a row's cells, of every model and scheme."""
    return [key for key, cell in cells.items() if row_of(suite, cell, key) == row]


def placebo_of(suite: str, cells: Cells, key: str, row: str) -> str | None:
    """Return the cell of a placebo's row that has cell `key`'s model, scheme, calibration and seed."""
    cell = cells[key]
    alike = (cell.model, cell.scheme, cell.calibration, cell.seed)
    found = [(other, cells[other]) for other in cells_of(suite, cells, row)]
    return next((other for other, c in found if (c.model, c.scheme, c.calibration, c.seed) == alike), None)


def planned_cells(plan: PlanFile, suite: str, cells: Cells, baselines: Mapping[str, str]) -> list[str]:
    """Return the cells that a plan needs: those of its arms, their bases and their placebos, seeds beyond the plan's
    included."""
    arms = [key for arm in plan.arms for key in cells_of(suite, cells, arm)]
    placebos = [key for rows in plan.arms.values() for row in rows for key in cells_of(suite, cells, row)]
    return list(dict.fromkeys([*(baselines[key] for key in arms), *arms, *placebos]))


def check_plan(plan: Plan, suite: str, cells: Cells, baselines: Mapping[str, str], protocol: Protocol) -> None:
    """Check that a suite can be run as its plan says.

    Raises:
        PydanticCustomError: a measure, a row or a seed is not in the suite, an arm has no base or no placebo, or
            what is pooled is not alike.
    """
    if "divergence" in plan.measures and not protocol.perplexity.kl_windows:
        raise mistake("plan: divergence is not measured; protocol.perplexity.kl_windows says on how many windows")
    rows = dict.fromkeys(row_of(suite, cell, key) for key, cell in cells.items())
    for place, row in _rows(plan):
        if row not in rows:
            raise mistake(f"{place}: {one_of('row', row, rows)}")
    for row in plan.pooled:
        if row not in plan.arms:
            raise mistake(f"plan.pooled: {one_of('arm', row, plan.arms)}")
    if len({cells[key].model for arm in plan.pooled for key in cells_of(suite, cells, arm)}) > 1:
        raise mistake("plan.pooled: the arms have cells of several models, which were not scored on the same tokens")
    for arm, placebos in plan.arms.items():
        keys = cells_of(suite, cells, arm)
        if lacking := set(plan.seeds) - {cells[key].seed for key in keys}:
            raise mistake(f"plan.seeds: row {arm} of the suite has no seed {min(lacking)}")
        for key in keys:
            if key not in baselines:
                raise mistake(f"plan.arms.{arm}: cell {key} has no base")
            for row in placebos:
                placebo = placebo_of(suite, cells, key, row)
                if placebo is None:
                    raise mistake(f"plan.arms.{arm}: row {row} has no cell of {key}'s calibration and seed")
                if placebo == baselines[key]:
                    raise mistake(f"plan.arms.{arm}: row {row} is its base, and so no placebo")
                if cells[placebo].method_name != cells[key].method_name:
                    raise mistake(f"plan.arms.{arm}: row {row} is of another method, and so no placebo")


def _rows(plan: PlanFile) -> Iterator[tuple[str, str]]:
    """Yield the rows that a plan names, each with its place."""
    for arm, placebos in plan.arms.items():
        yield "plan.arms", arm
        yield from ((f"plan.arms.{arm}", placebo) for placebo in placebos)
