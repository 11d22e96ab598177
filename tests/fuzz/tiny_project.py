"""A project that was run once, and a copy of it in which one file is damaged at a time."""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import yaml
from hypothesis import assume, note
from hypothesis import strategies as st

from bench.config.params import Params, load_params
from bench.inputs.models import HUB, ModelRecord
from bench.stages.calibrate import calibrate
from bench.stages.fetch import fetch_corpus, fetch_model
from bench.stages.reconstruct import reconstruct
from bench.stages.report import report
from bench.stages.score import score
from bench.store.dvc_lock import DVC_LOCK
from bench.store.failures import note_failure
from bench.store.paths import model_folder
from bench.store.progress import note_progress
from bench.store.resume import dvc_md5
from tests.support import tiny_suite
from tests.support.damage import damage
from tests.support.repository import ROOT

CELL = "tiny-omniquant-sw"
SWEPT = "tiny-rtn"  # dvc.lock holds this cell's artefact, and nothing else
CALIBRATION = "data/calibrations/tiny-4x32/tokens.safetensors"
WHEEL = "downloads/some_data-1.0-py3-none-any.whl"


@dataclass(frozen=True)
class Tiny:
    """A project that was run.

    Attributes:
        pristine: its files.
        folder: a copy, which is the current folder.
        params: its configuration.
    """

    pristine: Path
    folder: Path
    params: Params

    def files(self, *patterns: str) -> list[str]:
        """Return the files, relative to the project, that match a pattern."""
        found = {path for pattern in patterns for path in self.pristine.glob(pattern) if path.is_file()}
        return sorted(str(path.relative_to(self.pristine)) for path in found)

    def alike(self, name: str, near: bool = False) -> list[Path]:
        """Return files with the same ending and another content; `near` are those of the same name, or beside it."""
        path = self.pristine / name
        found = [other for other in self.pristine.rglob(f"*{path.suffix}") if other.suffix == path.suffix]
        if near:
            found = [other for other in found if other.name == path.name or other.parent == path.parent]
        content = path.read_bytes()
        return sorted(other for other in found if other.is_file() and other.read_bytes() != content)

    def damaged(self, data: st.DataObject, *patterns: str) -> str:
        """Make the copy whole, damage one of its files, and return its name."""
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        shutil.copytree(self.pristine, self.folder, symlinks=True, dirs_exist_ok=True)
        name = data.draw(st.sampled_from(self.files(*patterns)))
        path = self.folder / name
        alike = self.alike(name, near=data.draw(st.booleans()))
        note(f"{name}: {damage(data.draw, path, alike)}")
        assume(not path.is_file() or path.read_bytes() != (self.pristine / name).read_bytes())
        return name

    def same(self, *patterns: str) -> None:
        """Check that files are those of the run before anything was damaged."""
        for name in self.files(*patterns):
            assert (self.folder / name).read_bytes() == (self.pristine / name).read_bytes(), f"{name} is another"


def run(folder: Path) -> None:
    """Make a tiny suite of four cells in the current folder, in this process, and whatever else may lie there."""
    for name in ("bench", "swq", "conf", "dvc.yaml"):
        (folder / name).symlink_to(ROOT / name)
    tiny_suite.write_model(folder / "inputs/model")
    (folder / "inputs/model/special_tokens_map.json").write_text('{"eos_token": "<|end|>"}')
    tiny_suite.write_corpus(folder / "inputs/corpus")
    values = tiny_suite.params()
    del values["cells"]["tiny-tesseraq-sw"], values["report"]["baselines"]["tiny-tesseraq-sw"]
    values["protocol"]["tasks"] = ["winogrande", "piqa"]
    tiny_suite.write_params(folder, values)
    params = load_params()
    fetch_model(params, "tiny")
    ModelRecord(f"{HUB}someone/far@{'0' * 40}", "0" * 64, "0" * 64, "the hub").save(model_folder("far"))
    fetch_corpus(params, "words")
    calibrate(params, "tiny-4x32")
    for key in params.cells:
        reconstruct(params, key)
        score(params, key)
    report(params)
    _write_lock(f"reconstruct@{SWEPT}", Path("artefacts") / SWEPT / "record.json")
    note_progress("block 1 of 2", 1, 2)
    for stage in (f"reconstruct@{CELL}", f"score@{SWEPT}"):
        note_failure(stage, "a reason")
    with zipfile.ZipFile(folder / WHEEL, "w") as archive:
        archive.writestr("some_data/file.txt", "content" * 100)


def _write_lock(stage: str, out: Path) -> None:
    """Write what DVC writes when a stage has ended."""
    locked = {"cmd": "true", "outs": [{"path": str(out), "hash": "md5", "md5": dvc_md5(out)}]}
    DVC_LOCK.write_text(yaml.safe_dump({"schema": "2.0", "stages": {stage: locked}}))
