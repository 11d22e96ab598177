"""SIGKILL at any moment: the next run continues to the bytes of a calm run, and trains and scores nothing twice.

    python -m pytest tests/end_to_end/test_kills.py               # a kill or two in each phase
    SWQ_KILLS=99 python -m pytest tests/end_to_end/test_kills.py  # all, more than 20 in each phase: half an hour

Every kill happens in a copy of a project whose inputs are made. The commands are the user's: `dvc repro`, in which a
stage or DVC itself dies, then `python -m bench run` or again `dvc repro`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from subprocess import DEVNULL

import pytest

from tests.support import tiny_suite
from tests.support.kill_points import DVC, NAME, WITNESS, WRITING, KillPoint, install, variables
from tests.support.project import Project, copy_project
from tests.support.warm_python import warm_python

KILLS = int(os.environ.get("SWQ_KILLS", "1"))  # in each phase
KEY = "tiny-omniquant-sw"  # the cell that is killed; the others are finished before
VOLATILE = ("record.json", "SHA256SUMS")  # when and how long, and the checksum of that

MODEL_CALL, WINDOW = "bench.scoring.one_pass:OnePass._answers", "bench.scoring.perplexity:token_losses"
# How DVC writes dvc.lock and an entry of the run cache, that entry alone, and .dvc/tmp/rwlock.
DVC_DUMP, DVC_ENTRY, DVC_LOCKS = "dvc.utils.serialize._yaml:_dump", "dvc.utils.serialize:dump_yaml", "json:dump"
TRAIN = [KillPoint("step")]
SCORE = [KillPoint("call", MODEL_CALL), KillPoint("call", WINDOW)]


def written(names: tuple[str, ...], numbers: tuple[int, ...] = (1,)) -> list[KillPoint]:
    """Return every moment of the writing of some files, all files at one moment before the next."""
    return [KillPoint(moment, name, n) for moment, name, n in product(WRITING, names, numbers)]


# What DVC does from a command's end to its entry in dvc.lock, as moment, function and which call.
UNTIL_LOCKED = [
    ("half", DVC_DUMP, 2),  # the first is an entry of the run cache, the second dvc.lock
    ("half", DVC_LOCKS, 2),
    ("call", DVC_DUMP, 2),  # the file is empty then
    ("call", DVC_LOCKS, 1),
    ("call", "dvc.stage:Stage.save", 1),
    ("call", "dvc.stage.cache:StageCache.save", 1),
    ("call", DVC_ENTRY, 1),  # there is an empty folder for it
    ("call", DVC_DUMP, 1),
    ("half", DVC_DUMP, 1),
    ("called", "dvc.stage.cache:StageCache.save", 1),
    ("call", "dvc.output:Output.commit", 1),
    ("called", "os:unlink", 5),
    ("called", "dvc.output:otransfer", 1),
    ("called", "dvc.stage:Stage.commit", 1),
    ("called", "dvc.dvcfile:Lockfile.dump_stages", 1),
]
# In each phase, the kill that `make test` has comes first.
PHASES = {
    "training": [
        *(KillPoint("step", n=n) for n in (13, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 15, 16)),
        *(KillPoint("call", "swq.reconstruct.train:_gradient_shares", n) for n in (1, 4)),
        *(KillPoint("call", "swq.reconstruct.data:ActivationPaths.advance", n) for n in (1, 2)),
        *(KillPoint("called", "swq.reconstruct.data:ActivationPaths.advance", n) for n in (1, 2)),
    ],
    "block": [*written(("/block_*",), (2, 1)), *written(("decides.json",)), *written(("peak.json",), (1, 2))],
    "artefact": written(
        ("learned.safetensors", "quantized.safetensors", "losses.csv", "record.json", "SHA256SUMS", "made.json")
    ),
    "scoring": [
        KillPoint("call", MODEL_CALL, 9),
        *(KillPoint("call", MODEL_CALL, n) for n in (1, 5, 14)),
        *(KillPoint("call", WINDOW, n) for n in (1, 2, 4)),
        *(KillPoint("called", "bench.store.resume:State.piece", n) for n in (3, 4, 6, 9)),
        *(KillPoint("half-written", name) for name in ("/text_*", "/task_*", "items.jsonl", "summary.json", ".npy")),
        *(KillPoint("half-written", f"scores/*{name}") for name in VOLATILE),
        *(KillPoint(moment, f"scores/{KEY}") for moment in ("before", "unnamed", "named")),
        *written(("score@*/made.json",)),
    ],
    "lock": [
        *(KillPoint(moment, what, n, command) for (moment, what, n), command in product(UNTIL_LOCKED, (1, 2))),
        *(KillPoint("call", "os:link", n, command=1) for n in (1, 3)),  # from the cache into the workspace
        *(KillPoint("call", "os:replace", n, command=2) for n in (1, 3)),  # into the cache
    ],
}
# What `python -m bench run` says after the first kill of each phase.
SAYS = {
    "training": "note: reconstruct@tiny-omniquant-sw continues from block 2 of 2 blocks",
    "block": "note: reconstruct@tiny-omniquant-sw continues from block 2 of 2 blocks",
    "artefact": "note: reconstruct@tiny-omniquant-sw had finished all 2 blocks",
    "scoring": "note: score@tiny-omniquant-sw continues: ",
    "lock": "note: dvc.lock was cut off, as by a kill; its last whole copy is back",
}


@dataclass(frozen=True)
class Calm:
    """A project that nothing disturbs.

    Attributes:
        start: a copy of it from before the cell was made.
        result: the bytes of what was made, by path.
    """

    start: Project
    result: dict[str, bytes]


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Calm]:
    folder, start = (tmp_path_factory.mktemp(name) for name in ("calm", "start"))
    copy_project(folder)
    install(folder)
    tiny_suite.write_inputs(folder)
    values = tiny_suite.params()
    values["cells"] = {key: values["cells"][key] for key in ("tiny-fp", "tiny-rtn", KEY)}
    values["report"] = {"baselines": {KEY: "tiny-rtn"}}
    tiny_suite.write_params(folder, values)
    given = os.environ | {"PYTHONPATH": "", "HF_HUB_OFFLINE": "1", "DVC_NO_ANALYTICS": "1"}
    with warm_python(given) as environment:
        project = Project(folder, environment)
        assert project.run("dvc", "repro", "score@tiny-fp", "score@tiny-rtn").returncode == 0
        shutil.copytree(folder, start, dirs_exist_ok=True)
        done = project.bench("run")
        assert done.returncode == 0, done.stderr
        yield Calm(Project(start, environment), contents(folder))


def contents(folder: Path) -> dict[str, bytes]:
    """Return the artefacts and scores that must not differ."""
    files = [path for place in ("artefacts", "scores") for path in (folder / place).rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.name not in VOLATILE}


def differing(one: dict[str, bytes], other: dict[str, bytes]) -> dict[str, int]:
    """Return how many bytes differ in which file."""
    found = {}
    for name in sorted({*one, *other}):
        a, b = one.get(name, b""), other.get(name, b"")
        found[name] = sum(x != y for x, y in zip(a, b, strict=False)) + abs(len(a) - len(b))
    return {name: count for name, count in found.items() if count}


CASES = [(phase, number, point) for phase, points in PHASES.items() for number, point in enumerate(points[:KILLS])]


@pytest.mark.parametrize(("phase", "number", "point"), CASES, ids=[f"{phase}: {point}" for phase, _, point in CASES])
def test_next_run_continues_to_the_same_bytes(
    calm: Calm, tmp_path: Path, phase: str, number: int, point: KillPoint
) -> None:
    shutil.copytree(calm.start.folder, tmp_path, dirs_exist_ok=True)
    project = Project(tmp_path, calm.start.environment)
    dvc = [sys.executable, NAME] if point.command else ["dvc"]
    killed = project.run(*dvc, "repro", f"score@{KEY}", **variables([point]))
    assert (tmp_path / WITNESS).exists() and killed.returncode != 0, killed.stdout + killed.stderr
    (tmp_path / WITNESS).unlink()

    again = variables(must_not_happen_again(point))
    unreadable = point.what in (DVC_DUMP, DVC_ENTRY, DVC_LOCKS)  # only `python -m bench run` mends what DVC cannot read
    done = project.run("dvc", "repro", **again) if number % 2 and not unreadable else project.bench("run", **again)
    assert done.returncode == 0, done.stdout + done.stderr
    assert number or SAYS[phase] in done.stderr
    check(tmp_path, calm)


def test_stage_may_outlive_the_dvc_that_waits_for_it(calm: Calm, tmp_path: Path) -> None:
    """The next run's stage waits for it, or finds what it left."""
    shutil.copytree(calm.start.folder, tmp_path, dirs_exist_ok=True)
    project = Project(tmp_path, calm.start.environment)
    at_start = variables([KillPoint("call", "subprocess:Popen.communicate", command=DVC)])
    command = [sys.executable, NAME, "repro", f"score@{KEY}"]
    # Nobody listens to it: else its end would have to be waited for.
    killed = subprocess.run(
        command, cwd=tmp_path, env=project.environment | at_start, stdout=DEVNULL, stderr=DEVNULL, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    done = project.bench("run")
    assert done.returncode == 0, done.stderr
    check(tmp_path, calm)


def check(folder: Path, calm: Calm) -> None:
    """Check that a folder holds the calm run's bytes and nothing that a kill has left."""
    assert differing(contents(folder), calm.result) == {}
    assert not list(folder.glob(".resume/*/*")), "dvc.lock holds the results: the states are gone"
    assert not list(folder.glob("artefacts/**/*.tmp")) and not list(folder.glob("scores/*.tmp"))


def must_not_happen_again(point: KillPoint) -> list[KillPoint]:
    """Return what the next run must not do, as moments that it would die of."""
    return [*(TRAIN if point.command >= 1 else []), *(SCORE if point.command >= 2 else [])]
