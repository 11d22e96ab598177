"""When the state of a killed stage goes. Every stage looks, so no torch here."""

from __future__ import annotations

import shutil

from bench.store.dvc_lock import stages_in, text_of
from bench.store.files import read_json
from bench.store.paths import RESUME
from swq.errors import UserError

MADE = "made.json"  # in a state's folder: the result that was made from it


def sweep() -> None:
    """Remove the states of stages whose results stand in dvc.lock."""
    made = list(RESUME.glob(f"*/*/{MADE}"))
    locked = _locked() if made else {}
    for path in made:
        try:
            result = read_json(path)
            done = locked[path.parent.parent.name][result["out"]] == result["md5"]
        except (UserError, KeyError, TypeError):
            continue  # not in the lock, or unreadable: kept
        if done:
            shutil.rmtree(path.parent.parent, ignore_errors=True)


def _locked() -> dict[str, dict[str, str]]:
    """Return the MD5 of each out of each stage in dvc.lock; nothing if that is cut off or damaged."""
    try:
        stages = stages_in(text_of()) or {}
        return {name: {out["path"]: out["md5"] for out in stage.get("outs", [])} for name, stage in stages.items()}
    except (KeyError, TypeError, AttributeError):
        return {}
