"""Each line of OWN fits lm-eval's own definition, so that a mistake in one is found before anything is scored."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.config.tasks import OWN


class Loader(yaml.SafeLoader):
    """Reads lm-eval's files, functions in which are of no interest here."""


Loader.add_multi_constructor("!", lambda *_: None)


def definition(path: Path) -> dict[str, Any]:
    """Return what a task's file says, with what it includes."""
    own = yaml.load(path.read_text(encoding="utf-8"), Loader)
    included = own.pop("include", None)
    return (definition(path.parent / included) if included else {}) | own


@pytest.mark.parametrize("name", OWN)
def test_a_task_is_lm_evals(name: str) -> None:
    spec = find_spec("lm_eval")
    assert spec is not None and spec.origin is not None
    path = Path(spec.origin).parent / "tasks" / OWN[name].definition
    assert path.is_file(), f"lm-eval has no {OWN[name].definition}"
    says = definition(path)
    assert says["task"] == name, "the key is the name that lm-eval's file gives under `task`"
    assert says["output_type"] == "multiple_choice"
    assert any(metric["metric"] == "acc" for metric in says["metric_list"])
    assert OWN[name].split in ("validation", "test") and says.get(f"{OWN[name].split}_split")
