"""What is imported before a command begins its work: modules are compared, and not seconds."""

from __future__ import annotations

import subprocess
import sys

from tests.support.repository import ROOT

SLOW = ("torch", "transformers", "lightning", "datasets", "matplotlib", "pandas")  # from a third of a second to seconds


def imported(code: str) -> set[str]:
    """Return which of the slow libraries a fresh interpreter holds after it has run `code`."""
    asked = f"import sys\n{code}\nprint(*[name for name in {SLOW} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_a_configuration_is_read_without_slow_libraries() -> None:
    code = "import bench.__main__\nfrom bench.config.params import load_params\nassert load_params().cells"
    assert imported(code) == set()


def test_slow_libraries_are_noticed() -> None:
    assert imported("import torch") == {"torch"}
