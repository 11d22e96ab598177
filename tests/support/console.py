"""The console command `swq`, run in this process or in one of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from swq.command.app import main
from tests.support.repository import ROOT


def swq(*arguments: str | Path) -> str | int | None:
    """Run `swq` with arguments here, and return its exit status, or its line about a mistake."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stop:
        patch.setattr(sys, "argv", ["swq", *map(str, arguments)])
        main()
    return stop.value.code


def swq_apart(arguments: Iterable[str | Path], before: str = "") -> subprocess.CompletedProcess[str]:
    """Run `swq` in a process of its own, after other code."""
    code = f"{before}\nfrom swq.command.app import main\nmain()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
