"""A run that is killed every few minutes until it completes, against a calm one: the same bytes, and what it cost.

    python benchmarks/soak.py CALM WHERE                      # kills every 60 to 240 seconds
    python benchmarks/soak.py CALM WHERE --every 10 30 --seed 3

CALM is a folder in which the suite of params.yaml was run to its end. The project is copied from there to WHERE without
anything that the run made; .venv and downloads/ are shared. There `python -m bench run` is killed by SIGKILL, with DVC,
stages and whatever else it started, and started again, until it completes. Exit status 0: artefacts and scores are
those of CALM byte for byte; 1: some differ; 2: a run failed by itself.

What it prints of the time: work redone is what a killed stage had done since its last finished piece, or since its
imports if it had none. The rest is imports, reading back finished pieces, and DVC, which a calm run has too.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from tabulate import tabulate

from bench.store.checksums import SUMS
from bench.store.files import read_json
from bench.store.paths import FAILURES, LOCKS, LOGS, PROGRESS, RECORD, RESUME

SHARED = (".venv", "downloads")
MADE = {"data", "artefacts", "scores", "dvc.lock", *map(str, (FAILURES, LOCKS, LOGS, RESUME))}
MADE_BY_DVC = {".dvc/cache", ".dvc/tmp"}
COMPARED = ("artefacts", "scores")
VOLATILE = {RECORD, SUMS}  # when and how long, and the checksum of that
MARK = "SWQ_SOAK"  # a variable of everything that a run starts
LOG = LOGS / "soak.log"
BAR = re.compile(r"reconstruct:[^\r\n]*\[(\d+):(\d+)<")  # tqdm's, with the time since it began


@dataclass(frozen=True)
class Kill:
    """One kill.

    Attributes:
        after: seconds since the run was started.
        stage: that was running; empty between stages.
        redone: seconds of its work that are lost.
    """

    after: float
    stage: str
    redone: float


def copy_project(calm: Path, where: Path) -> None:
    """Copy a project without what a run made, and share what is large and does not change."""

    def ignored(folder: str, names: list[str]) -> set[str]:
        places = {name: os.path.relpath(Path(folder) / name, calm) for name in names}
        left_out = {*MADE, *MADE_BY_DVC, *SHARED}
        return {name for name, place in places.items() if place in left_out or name == "__pycache__"}

    shutil.copytree(calm, where, ignore=ignored, symlinks=True)
    for name in SHARED:
        if (calm / name).exists():
            (where / name).symlink_to((calm / name).resolve())


def soak(where: Path, every: tuple[float, float], seed: int) -> Iterator[tuple[float, Kill | None]]:
    """Run and kill until a run completes; yield each run's seconds and its kill.

    Raises:
        RuntimeError: a run failed by itself.
    """
    draw = random.Random(seed)
    while True:
        began = time.time()
        kill = run_for(where, draw.uniform(*every))
        yield time.time() - began, kill
        if kill is None:
            return


def run_for(where: Path, seconds: float) -> Kill | None:
    """Start a run, and kill it after so many seconds; return None if it has completed by then."""
    began, stage, started = time.time(), "", 0.0
    run, mark = start(where)
    try:
        if run.wait(seconds) == 0:
            return None
        raise RuntimeError(f"a run failed by itself: see {where / LOG}")
    except subprocess.TimeoutExpired:
        stage, started = running(mark)
    finally:  # also where this script is interrupted
        kill_all(mark)
    ended = time.time()
    since = working_since(where, stage, started) if stage else None
    return Kill(ended - began, stage, ended - since if since else 0.0)


def start(where: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start a run, and return what marks everything that it starts."""
    mark = secrets.token_hex(8)
    venv = where / SHARED[0] / "bin"
    binaries = venv if venv.is_dir() else Path(sys.executable).parent
    path = f"{binaries.absolute()}{os.pathsep}{os.environ['PATH']}"
    (where / LOG).parent.mkdir(exist_ok=True)
    with (where / LOG).open("ab") as log:
        run = subprocess.Popen(
            [str(binaries.absolute() / "python"), "-m", "bench", "run"],
            cwd=where,
            env=os.environ | {"PATH": path, MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return run, mark


def marked(mark: str) -> list[psutil.Process]:
    """Return the living processes that a run started, in whatever session they are."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue  # ended meanwhile, or somebody else's
    return found


def running(mark: str) -> tuple[str, float]:
    """Return the stage that runs, as DVC calls it, and when its process was started; "" if none does."""
    for process in marked(mark):
        try:
            words = process.cmdline()
            if words[1:3] == ["-m", "bench"] and words[3:] != ["run"]:
                return "@".join(words[3:5]), process.create_time()
        except psutil.Error:
            continue
    return "", 0.0


def kill_all(mark: str) -> None:
    """Kill everything that a run started, also what is being started meanwhile."""
    while processes := marked(mark):
        for process in processes:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue


def working_since(where: Path, stage: str, started: float) -> float | None:
    """Return when a stage began with the piece that it was making; None if it was still importing."""
    pieces = [*(where / RESUME / stage).glob("*/*.safetensors"), where / PROGRESS / f"{stage}.json"]
    times = [file.stat().st_mtime for file in pieces if file.exists()]
    if times and max(times) >= started:
        return max(times)
    kind, log = stage.partition("@")[0], where / LOGS / f"{stage}.log"
    if kind == "reconstruct":
        bars = BAR.findall(log.read_text(encoding="utf-8", errors="replace")) if log.exists() else []
        return log.stat().st_mtime - 60 * int(bars[-1][0]) - int(bars[-1][1]) if bars else None
    return None if kind == "score" else started  # scoring notes its progress before the first window


def compared(folder: Path) -> set[str]:
    """Return the paths, inside a folder, of what must not differ between two runs."""
    files = (path for place in COMPARED for path in (folder / place).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)) for path in files if path.name not in VOLATILE}


def differing(one: Path, other: Path) -> int:
    """Return how many bytes of two files differ; a file that is missing is empty."""
    a, b = (path.read_bytes() if path.is_file() else b"" for path in (one, other))
    return 0 if a == b else sum(x != y for x, y in zip(a, b, strict=False)) + abs(len(a) - len(b))


def work(folder: Path) -> float:
    """Return the seconds that the stages of all cells worked, each piece counted once, by their records."""
    records = [record for place in COMPARED for record in (folder / place).glob(f"*/{RECORD}")]
    return sum(float(read_json(record)["wall_seconds"]) for record in records)


def page(legs: list[tuple[float, Kill | None]], calm: float, useful: float) -> str:
    """Return what the kills hit and cost, `calm` and `useful` being the work of the two runs' cells."""
    kills = [kill for _, kill in legs if kill]
    whole, redone = sum(seconds for seconds, _ in legs), sum(kill.redone for kill in kills)
    rows = [[i, f"{k.after:.0f}", k.stage or "between stages", f"{k.redone:.1f}"] for i, k in enumerate(kills, 1)]
    stages = Counter(f"in {kill.stage.partition('@')[0]}" if kill.stage else "between stages" for kill in kills)
    hit = ", ".join(f"{n} {where}" for where, n in stages.items())
    share = f"{100 * redone / calm:.1f} %" if calm else "n/a"
    costs: list[list[str | float]] = [
        ["calm run: work of its cells", calm, ""],
        ["all runs, from start to kill or end", whole, ""],
        ["  work that was kept", useful, ""],
        ["  work redone", redone, f"{share} of the calm run's"],
        ["  imports, reading back, DVC", whole - useful - redone, f"of {len(legs)} starts"],
    ]
    return "\n\n".join(
        [
            tabulate(rows, ["kill", "after, s", "in", "redone, s"]),
            f"{len(kills)} kills: {hit or 'none'}",
            tabulate(costs, ["time", "s", ""], floatfmt=".1f"),
        ]
    )


def main() -> None:
    """Run, kill, compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("calm", type=Path, help="a folder with a finished run")
    parser.add_argument("where", type=Path, help="a new folder for the run that is killed")
    parser.add_argument("--every", type=float, nargs=2, default=(60, 240), help="seconds between a start and its kill")
    parser.add_argument("--seed", type=int, default=0, help="of the times of the kills")
    given = parser.parse_args()
    if not compared(given.calm) or given.where.exists():
        parser.error(f"{given.where} exists already" if given.where.exists() else f"{given.calm} holds no finished run")
    copy_project(given.calm, given.where)
    legs = []
    try:
        for leg in soak(given.where, tuple(given.every), given.seed):
            legs.append(leg)
            if leg[1]:
                print(f"killed after {leg[0]:.0f} s in {leg[1].stage or 'no stage'}", file=sys.stderr, flush=True)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    print(page(legs, work(given.calm), work(given.where)))
    sys.exit(verdict(given.calm, given.where))


def verdict(calm: Path, where: Path) -> int:
    """Print what differs between two runs, and return the exit status."""
    names = sorted(compared(calm) | compared(where))
    different = {name: count for name in names if (count := differing(calm / name, where / name))}
    for name, count in different.items():
        print(f"{name}: {count} bytes differ")
    size = sum((calm / name).stat().st_size for name in names if (calm / name).exists())
    word = "DIFFERENT" if different else "IDENTICAL"
    print(f"\n{word}: {sum(different.values())} of {size} bytes differ, in {len(names)} files of artefacts and scores")
    return 1 if different else 0


if __name__ == "__main__":
    main()
