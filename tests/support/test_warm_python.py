"""A warm interpreter behaves as a real one: streams, status, signals, environment, folder. No library is imported here.

The tests of the pipeline compare what both make of its stages.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.warm_python import COLD, warm_python

PROGRAM = """
import json, os, signal, sys, time, atexit
command, *rest = sys.argv[1:]
atexit.register(lambda: print("at the end"))
if command == "tell":
    told = {"rest": rest, "stdin": sys.stdin.read(), "cwd": os.getcwd(), "set": os.environ.get("SET"),
            "warm": "tests_warm" in sys.modules, "name": __name__, "file": __file__, "path": sys.path[0]}
    print(json.dumps(told))
    print("to the other stream", file=sys.stderr)
elif command == "exit":
    sys.exit(int(rest[0]))
elif command == "say":
    sys.exit("a mistake")
elif command == "raise":
    raise ValueError("a bug")
elif command == "die":
    os.kill(os.getpid(), signal.SIGKILL)
elif command == "wait":
    open("started", "w").write(str(os.getpid()))
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Of warm interpreters that have imported one module of a library in the test's folder."""
    library = tmp_path_factory.mktemp("library")
    (library / "tests_warm.py").write_text("")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.delenv(COLD, raising=False)
        with warm_python(os.environ | {"PYTHONPATH": str(library)}, ["tests_warm"]) as found:
            yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a `bench` of its own."""
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench/__init__.py").touch()
    (tmp_path / "bench/__main__.py").write_text(PROGRAM)
    return tmp_path


def run(
    folder: Path, environment: dict[str, str], *arguments: str, python: str = "python"
) -> subprocess.CompletedProcess[str]:
    command = [python, "-m", "bench", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, input="in", check=False)


def started(folder: Path, environment: dict[str, str]) -> tuple[subprocess.Popen[str], int]:
    """Start a command that waits, and return it and the number of the process that runs it."""
    command = ["python", "-m", "bench", "wait"]
    client = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
    mark = folder / "started"
    while client.poll() is None and not (mark.exists() and mark.read_text()):
        time.sleep(0.01)
    return client, int(mark.read_text())


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_command_gets_what_it_was_started_with(folder: Path, environment: dict[str, str]) -> None:
    warm = run(folder, environment | {"SET": "x"}, "tell", "a b", "--c")
    cold = run(folder, environment | {"SET": "x"}, "tell", "a b", "--c", python=sys.executable)
    assert '"warm": true' in warm.stdout and '"warm": false' in cold.stdout
    assert warm.stdout.replace('"warm": true', '"warm": false') == cold.stdout
    assert (warm.stderr, warm.returncode) == (cold.stderr, cold.returncode) == ("to the other stream\n", 0)


@pytest.mark.parametrize("arguments", [("exit", "0"), ("exit", "3"), ("say",), ("raise",), ("die",)])
def test_command_ends_as_it_would(folder: Path, environment: dict[str, str], arguments: tuple[str, ...]) -> None:
    warm = run(folder, environment, *arguments)
    cold = run(folder, environment, *arguments, python=sys.executable)
    assert (warm.returncode, warm.stdout) == (cold.returncode, cold.stdout)
    assert warm.stderr.splitlines()[-1:] == cold.stderr.splitlines()[-1:]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signal_reaches_the_command(folder: Path, environment: dict[str, str], number: signal.Signals) -> None:
    client, pid = started(folder, environment)
    client.send_signal(number)
    assert client.wait() == -number
    while is_alive(pid):  # of a client that was killed, the server learns a moment later
        time.sleep(0.01)


def test_other_environment_gets_the_real_interpreter(folder: Path, environment: dict[str, str]) -> None:
    """What a library may have read when it was imported must be what the command was given."""
    assert '"warm": false' in run(folder, environment | {"HF_HOME": "/elsewhere"}, "tell").stdout
    assert '"warm": true' in run(folder, environment | {"DVC_STAGE": "score@a"}, "tell").stdout


def test_anything_else_gets_the_real_interpreter(folder: Path, environment: dict[str, str]) -> None:
    code = "import sys; print(sys.argv, 'tests_warm' in sys.modules)"
    done = subprocess.run(["python", "-c", code, "x"], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.stdout == "['-c', 'x'] False\n"


def test_commands_run_at_once(folder: Path, environment: dict[str, str]) -> None:
    client, pid = started(folder, environment)
    assert '"warm": true' in run(folder, environment, "tell").stdout and is_alive(pid)
    client.terminate()
    client.wait()


def test_cold_means_cold(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COLD, "1")
    with warm_python(os.environ) as given:
        assert '"warm": false' in run(folder, given, "tell").stdout
        assert given["PATH"].startswith(str(Path(sys.executable).parent))
