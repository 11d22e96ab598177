"""A stage under DVC is quiet: what libraries print goes to its log file, and one line to the console."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bench.store.paths import LOGS


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
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for stream, original in zip((1, 2), kept, strict=True):
                os.dup2(original, stream)
                os.close(original)
