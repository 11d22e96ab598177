"""What a killed stage continues from: where it lies, what it belongs to, and when it goes.

.resume/STAGE/FINGERPRINT/ holds finished pieces. The fingerprint is of everything that decides their bytes. That stands
in `decides.json` too, so that people can be told why a state is not used. A state goes when dvc.lock holds the result
that was made from it, and not before: until then a kill can still lose the result.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from bench.store.files import read_mapping, write_json
from bench.store.paths import RESUME
from bench.store.peak import keep_peak
from bench.store.stage_output import say
from bench.store.sweep import MADE
from swq.errors import UserError
from swq.identity import fingerprint
from swq.pieces import Piece, Pieces

DECIDES, PEAK = "decides.json", "peak.json"
FEW = 3  # differences that are named


class State:
    """The state of one stage.

    Attributes:
        stage: its name in DVC.
        pieces: what is finished.
        seconds: that earlier runs took for what this one read back.
    """

    def __init__(self, stage: str, decides: Mapping[str, Any]) -> None:
        """Open the state that belongs to `decides`, and say why another one that lies there is not used.

        Args:
            stage: its name in DVC, such as `score@KEY`.
            decides: everything that decides the result, as JSON would hold it.
        """
        self.stage, place = stage, RESUME / stage
        self.pieces = Pieces(place / _name(decides))
        for path in self.pieces.folder.glob("*"):
            if path.is_dir():  # left by a kill or a repair of the disk, and in the way of the file of its name
                shutil.rmtree(path)
        self.seconds = 0.0
        others = [path for path in place.glob(f"*/{DECIDES}") if Pieces(path.parent).names()]
        if others and not self.pieces.names():
            latest = max(others, key=lambda path: path.stat().st_mtime)
            say(f"{stage} starts anew and does not continue an earlier run: {_why(latest, decides)}")
        write_json(self.pieces.folder / DECIDES, decides)

    def piece(self, name: str, make: Callable[[], tuple[dict[str, Tensor], dict[str, Any]]]) -> Piece:
        """Return a piece, made now if it is not there; `seconds` in its header says how long it took then."""
        found = self.pieces.load(name)
        if found:
            self.seconds += found[1]["seconds"]
            return found
        began = time.perf_counter()
        tensors, header = make()
        header = header | {"seconds": round(time.perf_counter() - began, 3)}
        self.pieces.save(name, tensors, header)
        self.peak()
        return tensors, header

    def peak(self) -> dict[str, int]:
        """Return the peak memory of this run and of the earlier ones, in bytes, and keep it for later ones."""
        return keep_peak(self.pieces.folder / PEAK)

    def made(self, out: Path) -> None:
        """Note that the result is there: `out` is an out of the stage that no other run writes with the same bytes."""
        write_json(self.pieces.folder / MADE, {"out": str(out), "md5": dvc_md5(out)})


def dvc_md5(out: Path) -> str:
    """Return what dvc.lock holds of an out: a file's MD5, or that of a listing of a folder."""
    if out.is_file():
        with out.open("rb") as handle:
            return hashlib.file_digest(handle, "md5").hexdigest()
    files = {str(path.relative_to(out)): path for path in out.rglob("*") if path.is_file()}
    listing = [{"md5": dvc_md5(files[name]), "relpath": name} for name in sorted(files)]
    return hashlib.md5(json.dumps(listing, sort_keys=True).encode()).hexdigest() + ".dir"


def _name(decides: Mapping[str, Any]) -> str:
    return fingerprint(decides)[:32]


def _why(path: Path, decides: Mapping[str, Any]) -> str:
    """Say in what an earlier state differs."""
    try:
        earlier = read_mapping(path)
    except UserError:
        earlier = {}
    if _name(earlier) != path.parent.name:
        return f"{path} is damaged"
    before, now = (dict(_leaves(data)) for data in (earlier, json.loads(json.dumps(decides))))
    changed = [name for name in sorted({**before, **now}) if before.get(name) != now.get(name)]
    said = [_changed(name, before.get(name), now.get(name)) for name in changed[:FEW]]
    return ", ".join(said) + (f" and {len(changed) - FEW} more" if len(changed) > FEW else "")


def _leaves(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in data.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _changed(name: str, before: object, now: object) -> str:
    section, _, place = name.partition(".")
    if section == "code":
        return f"{place} was edited"
    called = place if section in ("machine", "settings") else name
    return f"{called} was {_shown(before)} and is {_shown(now)}"


def _shown(value: object) -> str:
    if isinstance(value, str) and len(value) == 64:
        return f"{value[:8]}..."
    return "nothing" if value is None else str(value)
