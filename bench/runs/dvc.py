"""DVC as a process: started quietly, listened to stage by stage, and stopped with everything that it started."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from bench.store.paths import LOGS
from bench.store.stage_output import NOTE

RUNNING = re.compile(r"Running stage '([^']+)'")
SKIPPED = re.compile(r"Stage '([^']+)' (?:didn't change, skipping|is cached)")
FAILED = re.compile(r"ERROR: failed to reproduce '([^']+)'")
BLOCKER = re.compile(r"\(PID (\d+)\): (.*)")
PATIENCE = 5.0  # seconds that an interrupted DVC has for putting its files in order

# Is called with a stage's name and "running", "skipped" or "failed", and with "ended" when DVC ends. A stage has
# succeeded when the next event is not its failure.
Listener = Callable[[str, str], None]


class Dvc:
    """One `dvc` process. Its output goes to .logs/NAME.log, and events about its stages go to a listener.

    Args:
        name: name of the log.
        arguments: those after `dvc`.
        listener: called in a thread of its own.
        environment: variables that override this process's.
    """

    def __init__(self, name: str, arguments: list[str], listener: Listener, environment: dict[str, str]) -> None:
        LOGS.mkdir(exist_ok=True)
        self.log = LOGS / f"{name}.log"
        self._listener = listener
        self._notes: SimpleQueue[str] = SimpleQueue()
        command = [str(Path(sys.executable).with_name("dvc")), *arguments]
        # Its own session, so that an interrupt reaches it only once, through us. Unbuffered, or its lines come late.
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=os.environ | {"PYTHONUNBUFFERED": "1"} | environment,
            start_new_session=True,
        )
        self._thread = Thread(target=self._listen, daemon=True)
        self._thread.start()

    def notes(self) -> Iterator[str]:
        """Yield what stages said to whoever waits for them, each line once."""
        with suppress(Empty):
            while True:
                yield self._notes.get_nowait()

    def ended(self) -> bool:
        """Say whether it has ended and its last line was listened to."""
        return self._process.poll() is not None and not self._thread.is_alive()

    def succeeded(self) -> bool:
        """Wait for its end, and say whether it did what it was asked for."""
        self._thread.join()
        return self._process.wait() == 0

    def stop(self) -> None:
        """Interrupt it and what it started, as Ctrl-C does; kill what does not end."""
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            self._signal(signal_number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(PATIENCE)
                break
        self._signal(signal.SIGKILL)  # a stage may outlive the DVC that waits for it
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # nothing of the session is left
            os.killpg(self._process.pid, number)

    def reason(self) -> str:
        """Say why it failed, for failures that no stage reported."""
        text = self.log.read_text(encoding="utf-8")
        if "is busy" in text or "Unable to acquire lock" in text:
            who = "".join(f": process {pid} ({command})" for pid, command in BLOCKER.findall(text)[:1])
            return f"another run is active in this folder{who}; wait until it ends, or stop it"
        errors = [line for line in text.splitlines() if line.startswith("ERROR")]
        return (errors or ["it printed no error"])[-1].removeprefix("ERROR: ")

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self.log.open("w", encoding="utf-8") as log:
            for line in self._process.stdout:
                log.write(line)
                log.flush()
                if line.startswith(NOTE):
                    self._notes.put(line.rstrip())
                for event, pattern in (("running", RUNNING), ("skipped", SKIPPED), ("failed", FAILED)):
                    if found := pattern.search(line):
                        self._listener(found[1], event)
        self._listener("", "ended")
