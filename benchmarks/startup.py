"""How long commands take to start: `python benchmarks/startup.py [--runs N]`, from the repository's top folder.

Prints a Markdown table with the median seconds of N runs (default 5), after one run that fills the system's cache of
files. Commands that only print are run as they are, in a scratch folder beside this suite's results, models and conf/.
Of a stage it is what Python takes from its start until everything that the stage imports on its way is there, with the
class of a LLaMA and its tokenizer where it builds them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = ("--help", "show", "check", "compose bundled", "published", "failures")
TOKENIZER = "from transformers import AutoTokenizer"
MODEL = "from transformers.models.llama.modeling_llama import LlamaForCausalLM"
# The modules that a stage is made of, and what it imports as it goes.
STAGES: dict[str, tuple[str, str]] = {
    "validate": ("bench.stages.validate", "pass"),
    "fetch-model": ("bench.stages.fetch, bench.prepare.hub, swq.models.folder", "pass"),
    "fetch-corpus": ("bench.stages.fetch, bench.prepare.corpus_folder", "pass"),
    "calibrate": ("bench.stages.calibrate", TOKENIZER),
    "verify": ("bench.published.verify", "pass"),
    "estimate": ("bench.preflight.estimate", "pass"),
    "compare": ("bench.stages.compare", "pass"),
    "report": ("bench.stages.report", "pass"),
    "train-model": ("bench.stages.train, bench.stages.small_opt", "from transformers import OPTForCausalLM"),
    "reconstruct": ("bench.stages.reconstruct", f"from lightning.fabric import Fabric; {MODEL}"),
    "score": (
        "bench.scoring.harness, bench.scoring.model, bench.scoring.perplexity",
        f"{TOKENIZER}; {MODEL}; import lm_eval.models.huggingface, lm_eval.evaluator",
    ),
}
START = """
import bench.__main__, bench.runs.leftovers, bench.store.sweep
from bench.config.params import load_params
from bench.imports import importing
load_params()
with importing():
    import {modules}
with importing():
    {later}
"""


def scratch(folder: Path) -> None:
    """Make a folder in which the commands work, and change nothing in this one."""
    for name in ("conf", "results", "data"):
        if (ROOT / name).exists():
            (folder / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "params.yaml", folder)


def seconds(arguments: list[str], folder: Path) -> float:
    """Return how long Python ran with these arguments."""
    began = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, check=False)
    if b"Traceback" in done.stderr or b"error: " in done.stderr:
        sys.exit(done.stderr.decode())
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    calls = {f"`{command}`": ["-m", "bench", *command.split()] for command in COMMANDS}
    calls |= {name: ["-c", START.format(modules=modules, later=later)] for name, (modules, later) in STAGES.items()}
    with TemporaryDirectory() as temporary:
        scratch(Path(temporary))
        rows = [[name, *_measured(arguments, Path(temporary), runs)] for name, arguments in calls.items()]
    print(tabulate(rows, ["command", "s"], tablefmt="github", floatfmt=".2f"))


def _measured(arguments: list[str], folder: Path, runs: int) -> list[float]:
    seconds(arguments, folder)
    return [median(seconds(arguments, folder) for _ in range(runs))]


if __name__ == "__main__":
    main()
