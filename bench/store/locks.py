"""One process at a time: whoever comes second waits, or is told who was first."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper

from bench.store.paths import LOCKS
from bench.store.stage_output import say
from swq.errors import UserError
from swq.files import try_lock


@contextmanager
def held(name: str, what: str, wait: bool) -> Iterator[None]:
    """Hold a lock of this folder. The system releases it when this process dies, however it dies.

    Args:
        name: of the lock; may hold '@'.
        what: is done under it, for messages.
        wait: until whoever holds it is done, and say so; otherwise that is an error.

    Raises:
        UserError: another process holds it; names that.
    """
    LOCKS.mkdir(exist_ok=True)
    with (LOCKS / name).open("a+", encoding="utf-8", errors="replace") as handle:
        if not try_lock(handle):
            if not wait:
                raise UserError(f"{what} is going on already: {_holder(handle)}; wait until it ends")
            say(f"waiting for {what}: {_holder(handle)}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        handle.seek(0)
        handle.truncate()
        since = time.strftime("%H:%M:%S")
        handle.write(f"process {os.getpid()} on {socket.gethostname()} since {since} ({' '.join(sys.argv[-3:])})")
        handle.flush()
        yield


def _holder(handle: TextIOWrapper) -> str:
    handle.seek(0)
    return handle.read() or "another process"
