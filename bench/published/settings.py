"""The settings of a claim: the suite's schemes with cells that it is about, and what was measured of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from bench.analysis.compare import compared, full_precision, strata
from bench.analysis.recovery import MIN_SEEDS, Stratum
from bench.analysis.results import CellResult
from bench.config.params import Params
from bench.config.seeds import SeedGroup
from bench.config.sources import HubModel
from bench.published.anchors import Standing, standing
from bench.published.claims import Claim, Claims, Direction
from bench.published.figures import Registry

Seeds = tuple[int, int]  # a cell's own, and its calibration's


@dataclass(frozen=True)
class Setting:
    """One scheme's cells, or all of a claim's.

    Attributes:
        scheme: of the cells.
        standing: how they stand to what is published.
        seeds: of those that can be compared with their base, in the order of the strata's rows.
        strata: the items of the claim's measure; empty if no cell can be compared.
    """

    scheme: str
    standing: Standing
    seeds: tuple[Seeds, ...]
    strata: tuple[Stratum, ...]

    @cached_property
    def n_items(self) -> int:
        return sum(len(stratum.reference) for stratum in self.strata)

    @property
    def enough(self) -> bool:
        """Whether there are seeds enough for a verdict."""
        return len(self.seeds) >= MIN_SEEDS

    def of(self, seeds: list[Seeds]) -> list[Stratum]:
        """Return the strata of some of its seeds, in their order."""
        rows = [self.seeds.index(seed) for seed in seeds]
        return [Stratum(stratum.reference, stratum.base[rows], stratum.treated[rows]) for stratum in self.strata]


def settings_of(
    claim: Claim | Direction,
    measure: str,
    params: Params,
    claims: Claims,
    results: dict[str, CellResult],
    registry: Registry,
) -> list[Setting]:
    """Return the settings of a claim in the order of the suite's cells, those that were not run included."""
    found = []
    for keys in _groups(params, claim):
        reference, pairs = full_precision(params, results, keys), compared(params, results, keys)
        usable = pairs if reference else []
        found.append(
            Setting(
                scheme=str(params.cells[keys[0]].scheme),
                standing=standing(params, keys, claims, results, registry),
                seeds=tuple(_seeds(params, treated.key) for _, treated in usable),
                strata=tuple(strata(reference, usable, measure)) if reference and usable else (),
            )
        )
    return found


def _groups(params: Params, claim: Claim | Direction) -> list[SeedGroup]:
    """Return the cells that a claim is about, those of one row together."""

    def about(key: str) -> bool:
        cell, base = params.cells[key], params.report.baselines.get(key)
        source = params.models.get(cell.model)
        right = isinstance(source, HubModel) and source.repo == claim.model and cell.method_name == claim.method
        return right and base is not None and claim.treats(cell) and not claim.treats(params.cells[base])

    return [keys for keys in params.seed_groups() if about(keys[0])]


def _seeds(params: Params, key: str) -> Seeds:
    cell = params.cells[key]
    return cell.seed, params.calibrations[cell.calibration].seed
