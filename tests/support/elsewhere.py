"""Exported folders, opened by plain transformers in a process that cannot import this project."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.support.repository import ROOT

# Nothing of this project may be found: not by the path, not by an installed package.
CODE = """
import sys
assert not [path for path in sys.path if path.rstrip("/") == sys.argv[1]]
sys.modules["swq"] = sys.modules["bench"] = None  # an import of them fails
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
tokens, logits = load_file(sys.argv[2])["tokens"], {}
for folder in sys.argv[4:]:
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        logits[folder] = model(tokens).logits.float()
save_file(logits, sys.argv[3])
"""


def logits_elsewhere(folders: Iterable[Path], tokens: Tensor, scratch: Path) -> dict[Path, Tensor]:
    """Return the logits of each folder's model on tokens (B, T). One process opens all: it takes seconds to start."""
    given, found = scratch / "tokens.safetensors", scratch / "logits.safetensors"
    save_file({"tokens": tokens}, given)
    command = [sys.executable, "-I", "-c", CODE, str(ROOT), str(given), str(found), *map(str, folders)]
    done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {Path(folder): logits for folder, logits in load_file(found).items()}
