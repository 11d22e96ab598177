"""One line of progress for a whole run: rewritten in place on a terminal, once a minute elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TextIO

EVERY = 60.0  # seconds between lines where the output is not a terminal


class Console:
    """Where a run shows its progress.

    Args:
        stream: standard error by default, so that what a command prints can be piped.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._last = -EVERY
        self._shown = ""

    def progress(self, line: str) -> None:
        """Show how far the run is."""
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            self._write(f"\r{line[:width]}\x1b[K", line)
        elif time.monotonic() - self._last >= EVERY and line != self._shown:
            self._last = time.monotonic()
            self._write(f"{line}\n", line)

    def say(self, line: str) -> None:
        """Print a line that stays."""
        self.clear()
        self._stream.write(f"{line}\n")
        self._stream.flush()

    def clear(self) -> None:
        """Remove the progress line."""
        if self._terminal and self._shown:
            self._write("\r\x1b[K", "")

    def _write(self, text: str, shown: str) -> None:
        self._stream.write(text)
        self._stream.flush()
        self._shown = shown
