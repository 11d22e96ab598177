"""Interpreters that have imported the libraries already, for tests that run commands of the pipeline as processes.

A process of the pipeline spends seconds on importing torch, Lightning, transformers and lm-eval, and a fraction of one
on a tiny model. So a server imports them once and forks for each command. A `python` that stands first on PATH, and
that `dvc.yaml` therefore finds, hands the command to the server: its arguments, folder, environment and streams. The
fork runs `python -m bench` from the command's folder; `bench` and `swq` are imported there, never in the server.

Measured on 2 cores, a command of the tiny suite in an interpreter of its own and in a fork, in seconds:

    fetch-model 5.0  0.2      fetch-corpus 3.0  0.3      calibrate 5.8  0.2      reconstruct 8.0  0.4
    score       9.2  1.3      report       5.4  1.6      check     8.3  0.3      a server's start 6.3, once

What stays of `score` is lm-eval asking pip for its packages (0.8 s), and what stays of `report` is drawing. The first
run of the tiny suite under DVC went from 100 s to 26 s, the slice of the paper suite from 134 s to 43 s. All 1650 tests
take 460 s of processor time.

What a fork shares with the server is what the libraries read when they are imported. The server therefore refuses a
command whose environment differs in a variable that one of them may read, and the real interpreter runs it.
SWQ_TEST_COLD=1 runs real interpreters always (`make test-long`). Some tests do so in any case, and compare bytes.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import random
import runpy
import selectors
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

COLD = "SWQ_TEST_COLD"
# In the order in which a command would import them. What it needs beyond these it imports itself.
LIBRARIES = (
    "numpy",
    "scipy.stats",
    "torch",
    "lightning.fabric",
    "transformers",
    "transformers.generation",
    "transformers.modeling_utils",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.llama.modeling_llama",
    "transformers.models.opt.modeling_opt",
    "datasets",
    "lm_eval.evaluator",
    "lm_eval.models.huggingface",
    "lm_eval.tasks",
    "matplotlib.pyplot",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
    "tabulate",
    "pydantic",
    "typer",
    "yaml",
    "hydra",
)
OWN = ("bench", "swq")  # never imported before the fork
# One thread while the libraries are imported: a fork takes none of a pool's other threads along.
SINGLE_THREADED = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# Variables that a library may read when it is imported.
READ_AT_IMPORT = (
    "ACCELERATE_",
    "ARROW_",
    "CUDA_",
    "HF_",
    "HOME",
    "HUGGING",
    "LANG",
    "LC_",
    "LMEVAL_",
    "MKL_",
    "MPL",
    "NUMEXPR_",
    "OMP_",
    "OPENBLAS_",
    "PYTHON",
    "TORCH",
    "TRANSFORMERS_",
    "XDG_",
)
READ_AFTERWARDS = {"PYTHONUNBUFFERED"}


@contextmanager
def warm_python(environment: Mapping[str, str], libraries: Sequence[str] = LIBRARIES) -> Iterator[dict[str, str]]:
    """Yield an environment in which `python -m bench` is a fork of a server that was started with `environment`.

    With SWQ_TEST_COLD=1, and where forks of such processes are not safe, it is `environment` with the interpreter of
    this process first on PATH.
    """
    cold = with_path(environment, Path(sys.executable).parent)
    if os.environ.get(COLD) == "1" or sys.platform != "linux":
        yield cold
        return
    with tempfile.TemporaryDirectory(prefix="swq-") as name:  # short: a socket's path is at most 107 characters long
        place, binary, log = (Path(name) / part for part in ("socket", "bin/python", "log"))
        binary.parent.mkdir()
        client = [sys.executable, "-IS", str(Path(__file__).with_name("warm_client.py")), str(place), sys.executable]
        binary.write_text(f'#!/bin/sh\nexec {shlex.join(client)} "$@"\n')
        binary.chmod(0o755)
        command = [sys.executable, __file__, str(place), *libraries]
        with (
            log.open("wb") as errors,
            subprocess.Popen(
                command,
                env=cold,
                cwd=name,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            ) as server,
        ):
            try:
                assert server.stdout is not None
                if server.stdout.readline() != b"ready\n":
                    raise RuntimeError(log.read_text(errors="replace"))
                yield with_path(cold, binary.parent)
            finally:
                server.terminate()


def with_path(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return an environment with a folder first on its PATH."""
    return {**environment, "PATH": f"{folder}{os.pathsep}{environment['PATH']}"}


def decisive(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that must be the same in a fork as they were in the server."""
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(READ_AT_IMPORT) and name not in READ_AFTERWARDS
    }


# The server


class Server:
    """Forks on request, tells each client its fork's number and then its status, and kills forks of clients that died.

    Clients send one request each. Everything happens in one thread, and nothing is computed before a fork.
    """

    def __init__(self, place: str, given: Mapping[str, str]) -> None:
        self._given = decisive(given)
        self._clients: dict[int, socket.socket] = {}  # by the number of their fork
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(place)
        self._listener.listen(16)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._wake, waker = socket.socketpair()
        for end in (self._wake, waker):
            end.setblocking(False)
        self._waker = waker
        signal.signal(signal.SIGCHLD, lambda *_: None)  # it only has to interrupt the wait
        signal.set_wakeup_fd(waker.fileno())
        self._selector.register(self._wake, selectors.EVENT_READ)

    def serve(self) -> None:
        """Serve until this process is terminated."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj is self._wake:
                    self._wake.recv(4096)
                    self._reap()
                elif key.data in self._clients:
                    self._gone(key.data)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        head, streams, _, _ = socket.recv_fds(client, 8, 3)
        with client.makefile("rb") as reader:
            request: dict[str, Any] = json.loads(reader.read(int.from_bytes(head, "big")))
        if decisive(request["environment"]) != self._given:
            client.sendall(b"refused\n")
            client.close()
        else:
            pid = os.fork()
            if pid == 0:
                self._become(request, streams, client)
            client.sendall(f"{pid}\n".encode())
            self._clients[pid] = client
            self._selector.register(client, selectors.EVENT_READ, pid)
        for stream in streams:
            os.close(stream)

    def _reap(self) -> None:
        """Tell the clients of forks that ended how these did."""
        while self._clients:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            client = self._clients.pop(pid)
            if client.fileno() >= 0:
                self._selector.unregister(client)
                with contextlib.suppress(OSError):
                    client.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
                client.close()

    def _gone(self, pid: int) -> None:
        """Kill the fork of a client that died: it says nothing after its request, so it is readable then only."""
        client = self._clients[pid]
        self._selector.unregister(client)
        client.close()
        os.kill(pid, signal.SIGKILL)

    def _become(self, request: dict[str, Any], streams: list[int], client: socket.socket) -> NoReturn:
        """Turn this fork into the process that was asked for."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        for connection in (self._listener, self._wake, self._waker, client, *self._clients.values()):
            connection.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["cwd"])
        sys.path.insert(0, request["cwd"])
        sys.argv = ["-m", *request["arguments"]]
        if os.environ.get("PYTHONUNBUFFERED"):
            for output in (sys.stdout, sys.stderr):
                output.reconfigure(write_through=True)  # type: ignore[union-attr]
        random.seed()
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed()
        end(run(lambda: runpy.run_module("bench", run_name="__main__", alter_sys=True)))


def run(program: Callable[[], object]) -> int:
    """Run a program as the interpreter would, and return its status; below 0 it is the signal to die of."""
    try:
        program()
    except SystemExit as stop:
        if isinstance(stop.code, int) or stop.code is None:
            return (stop.code or 0) & 0xFF
        print(stop.code, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        traceback.print_exc()
        return -signal.SIGINT
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def end(status: int) -> NoReturn:
    """Do what the interpreter does at its end, and end without going through the server's own."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads
    atexit._run_exitfuncs()
    for output in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            output.flush()
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


def threads() -> list[str]:
    """Return the names of this process's threads, those of C libraries included, where the system tells them."""
    tasks = Path("/proc/self/task")
    return [(task / "comm").read_text().strip() for task in tasks.iterdir()] if tasks.is_dir() else []


def main(place: str, libraries: Sequence[str]) -> None:
    """Import the libraries, say so, and serve."""
    given = dict(os.environ)
    os.environ |= dict.fromkeys(SINGLE_THREADED, "1")
    del sys.path[0]  # this file's folder
    for library in libraries:
        importlib.import_module(library)
    others = [name for name in threads()[1:] if name != "jemalloc_bg_thd"]  # pyarrow's allocator starts it anew
    if others or OWN[0] in sys.modules or OWN[1] in sys.modules:
        raise RuntimeError(f"no fork from here: threads {others}, or {OWN} are imported")
    gc.collect()
    gc.freeze()  # what is there stays; a fork then copies less
    server = Server(place, given)
    print("ready", flush=True)
    server.serve()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
