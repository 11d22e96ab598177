"""SIGKILL at a chosen moment of a command, for tests: nothing in the product knows of it.

A project's copy runs this file beside its own code (`install`). What SWQ_KILL_AT names is then replaced by a wrapper
that kills the process; the kill leaves a file, so that a test sees that its moment came.

As a program it runs DVC, which dies at its own moments, most of them after a stage's command has ended:

    python kill_points.py repro score@KEY
"""

from __future__ import annotations

import importlib
import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NoReturn

VARIABLE = "SWQ_KILL_AT"
WITNESS = Path("killed")
NAME = Path(__file__).name
STAGE, DVC = 0, -1  # in the place of a number of commands


@dataclass(frozen=True)
class KillPoint:
    """A moment of a command.

    Attributes:
        moment: `call` or `called` (before or after a function), `half` (in the middle of what it writes to a stream),
            `step` (after a step of an optimiser), or one of WRITING.
        what: a function as module:name, or a pattern for the end of the path of what is written.
        n: which call or file it is.
        command: for DVC, how many of its commands have ended, or DVC for the time before; 0 for a stage.
    """

    moment: str
    what: str = ""
    n: int = 1
    command: int = STAGE

    def __str__(self) -> str:
        ended = f"command {self.command}, " if self.command > 0 else ""
        return f"{ended}{self.moment} {self.what.rpartition(':')[2] or 'of training'} {self.n}"


def variables(points: Iterable[KillPoint]) -> dict[str, str]:
    """Return the variables with which a command dies at the first of some moments."""
    return {VARIABLE: json.dumps([asdict(point) for point in points])}


def install(folder: Path) -> None:
    """Have the commands of a project's copy die where they are told to."""
    (folder / NAME).write_bytes(Path(__file__).read_bytes())
    program = folder / "bench/__main__.py"
    start = 'if __name__ == "__main__":\n'
    text = program.read_text(encoding="utf-8")
    assert start in text
    program.write_text(text.replace(start, f"{start}    import kill_points\n\n    kill_points.arm({STAGE})\n"))


def arm(command: int) -> None:
    """Set the traps of this process."""
    for fields in json.loads(os.environ.get(VARIABLE, "[]")):
        point = KillPoint(**fields)
        if point.command == command:
            TRAPS[point.moment](point)


def die() -> NoReturn:
    WITNESS.touch()
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("a killed process runs nothing")


class Countdown:
    """Kills at the n-th time."""

    def __init__(self, point: KillPoint) -> None:
        self._point, self._left = point, point.n

    def __call__(self, path: object = None, first: Callable[[], object] = lambda: None) -> None:
        """Count, if `path` is one that is waited for; `first` is done right before the kill."""
        if path is None or fnmatch(str(path), f"*{self._point.what}"):
            self._left -= 1
            if self._left == 0:
                first()
                die()


def replace(name: str, wrap: Callable[[Any], Any]) -> None:
    """Put a wrapper in the place of a function, given as module:name or module:class.name."""
    module, _, place = name.partition(":")
    *owners, attribute = place.split(".")
    owner: Any = importlib.import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    setattr(owner, attribute, wrap(getattr(owner, attribute)))


def around(
    name: str, before: Callable[..., object] = lambda *_: None, after: Callable[..., object] = lambda *_: None
) -> None:
    """Call something with a function's arguments before or after each of its calls."""

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            before(*arguments)
            result = function(*arguments, **named)
            after(*arguments)
            return result

        return wrapped

    replace(name, wrap)


def at_call(point: KillPoint) -> None:
    count = Countdown(point)
    around(point.what, before=lambda *_: count())


def at_return(point: KillPoint) -> None:
    count = Countdown(point)
    around(point.what, after=lambda *_: count())


def at_step(point: KillPoint) -> None:
    from torch.optim.optimizer import register_optimizer_step_post_hook

    count = Countdown(point)
    register_optimizer_step_post_hook(lambda *_: count())


def at_half(point: KillPoint) -> None:
    """Die when half of what `function(data, stream)` writes is in the file."""
    count = Countdown(point)

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(data: Any, stream: Any, **named: Any) -> Any:
            def write_half() -> None:
                whole = io.StringIO()
                function(data, whole, **named)
                text = whole.getvalue()
                stream.write(text[: len(text) // 2])
                stream.flush()

            count(first=write_half)
            return function(data, stream, **named)

        return wrapped

    replace(point.what, wrap)


def before_writing(point: KillPoint) -> None:
    around("swq.files:_beside", before=Countdown(point))


def half_written(point: KillPoint) -> None:
    count = Countdown(point)
    around("swq.files:_to_disk", before=lambda path: count(path, lambda: os.truncate(path, path.stat().st_size // 2)))


def unsynced(point: KillPoint) -> None:
    around("swq.files:_to_disk", before=Countdown(point))


def unnamed(point: KillPoint) -> None:
    count = Countdown(point)
    around("os:replace", before=lambda source, path: count(path))


def named(point: KillPoint) -> None:
    count = Countdown(point)
    around("os:replace", after=lambda source, path: count(path))


# Of a file that is written whole or not at all: half of it is written, nothing yet, or all of it; it does not have its
# name yet, and has it just now.
WRITING = {
    "half-written": half_written,
    "before": before_writing,
    "unsynced": unsynced,
    "unnamed": unnamed,
    "named": named,
}
TRAPS = {"call": at_call, "called": at_return, "half": at_half, "step": at_step, **WRITING}


def run_dvc(arguments: list[str]) -> int:
    """Run DVC, and set the traps of each of its commands when that has ended."""
    from dvc.cli import main

    ended = 0

    def arm_next(*_: object) -> None:
        nonlocal ended
        ended += 1
        arm(ended)

    arm(DVC)
    around("dvc.stage.run:cmd_run", after=arm_next)
    return int(main(arguments))


if __name__ == "__main__":
    sys.exit(run_dvc(sys.argv[1:]))
