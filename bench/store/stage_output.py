"""A stage under DVC is quiet: what libraries print goes to its log file, and single lines to the console."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bench.store.paths import LOGS

NOTE = "note: "  # begins a line that whoever waits for the stage should see now

_console: list[int] = []  # the standard output that was redirected, if it was


@contextmanager
def quiet_under_dvc() -> Iterator[None]:
    """Send both outputs of this process, its libraries' and its children's included, to .logs/STAGE.log.

    Without DVC, somebody called the stage by hand and wants to see what it does. Then no output is redirected.
    """
    stage = os.environ.get("DVC_STAGE")
    if stage is None:
        yield
        return
    LOGS.mkdir(exist_ok=True)
    kept = [os.dup(stream) for stream in (1, 2)]  # file descriptors: C++ libraries do not use sys.stdout
    with (LOGS / f"{stage}.log").open("w", encoding="utf-8") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
        _console.append(kept[0])
        try:
            yield
        finally:
            _console.clear()
            sys.stdout.flush()
            sys.stderr.flush()
            for stream, original in zip((1, 2), kept, strict=True):
                os.dup2(original, stream)
                os.close(original)


def say(line: str) -> None:
    """Print a note to the console at once, also while the output is redirected; then the log gets it too."""
    print(f"{NOTE}{line}", flush=True)
    if _console:
        os.write(_console[0], f"{NOTE}{line}\n".encode())
