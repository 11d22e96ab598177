"""The page's tables, in their order. A new one is a file beside this one and a line in TABLES."""

from __future__ import annotations

from bench.report.sections import TableView
from bench.report.tables import (
    broken_windows,
    changed,
    distance,
    not_run,
    published,
    quality,
    recovered,
    sw_effect,
    sw_placebo,
    sw_share,
)

TABLES: dict[str, TableView] = {
    "sw_effect": sw_effect.VIEW,
    "sw_placebo": sw_placebo.VIEW,
    "quality": quality.VIEW,
    "distance": distance.VIEW,
    "broken_windows": broken_windows.VIEW,
    "recovered": recovered.VIEW,
    "changed": changed.VIEW,
    "sw_share": sw_share.VIEW,
    "published": published.VIEW,
    "not_run": not_run.VIEW,
}
