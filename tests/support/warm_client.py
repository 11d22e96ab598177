"""`python` for commands of the pipeline: asks a server for a process, or runs the real interpreter.

Usage: warm_client.py SOCKET PYTHON ARGUMENTS...

What is asked for are `-m bench ...`; anything else, and what the server refuses, PYTHON runs itself. This file is
started once a command, so it imports little.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from typing import NoReturn

FORWARDED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def main(place: str, python: str, arguments: list[str]) -> NoReturn:
    """Run a command and end as it ends."""
    if arguments[:2] == ["-m", "bench"]:
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(place)
            status = ask(server, arguments[2:])
        if status is not None:
            end(status)
    os.execv(python, [python, *arguments])


def ask(server: socket.socket, arguments: list[str]) -> int | None:
    """Have the server run a command with this process's streams; return its status, or None if it refuses."""
    request = json.dumps({"arguments": arguments, "cwd": os.getcwd(), "environment": dict(os.environ)}).encode()
    socket.send_fds(server, [len(request).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(request)
    answers = server.makefile()
    pid = answers.readline().strip()
    if pid == "refused":
        return None
    for number in FORWARDED:
        signal.signal(number, lambda number, _: os.kill(int(pid), number))
    status = answers.readline().strip()
    if not status:
        sys.exit("the server for warm interpreters went away")
    return int(status)


def end(status: int) -> NoReturn:
    """Exit with a status; below 0 it is the signal that the command died of."""
    if status < 0:
        if -status in FORWARDED:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
