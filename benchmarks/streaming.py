"""Host memory of a reconstruction whose weights are read block by block, at the shapes of the paper's models.

    python benchmarks/streaming.py                       # LLaMA-2-7B's shapes, one and three blocks, and the whole load
    python benchmarks/streaming.py --model opt-6.7b --blocks 1

Random weights in half precision are written to a temporary folder (2 GB for three 7B blocks with embeddings). Each
measurement runs in its own process and is that process's peak resident memory above that of the imports.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from lightning.fabric import Fabric
from safetensors.torch import save_file
from transformers import AutoConfig

from swq.losses import Loss
from swq.methods.omniquant import OmniQuant
from swq.models.adapter import DecoderModel
from swq.quant.scheme import Scheme
from swq.reconstruct.recipe import Recipe
from swq.reconstruct.runner import reconstruct
from swq.streaming import stream

MODELS = {
    "llama-2-7b": ("llama", {"hidden_size": 4096, "intermediate_size": 11008, "num_attention_heads": 32}),
    "llama-2-13b": ("llama", {"hidden_size": 5120, "intermediate_size": 13824, "num_attention_heads": 40}),
    "opt-6.7b": (
        "opt",
        {"hidden_size": 4096, "ffn_dim": 16384, "num_attention_heads": 32, "word_embed_proj_dim": 4096},
    ),
}
GIB = 2**30


def peak() -> float:
    """Return this process's peak resident memory in GiB. Unlike getrusage's, it does not include the parent's."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / GIB


def write_checkpoint(folder: Path, model: str, n_blocks: int) -> None:
    """Write configuration and random weights, a file per block, without ever holding more than one."""
    model_type, shape = MODELS[model]
    config = AutoConfig.for_model(model_type, num_hidden_layers=n_blocks, max_position_embeddings=2048, **shape)
    config.architectures = ["LlamaForCausalLM" if model_type == "llama" else "OPTForCausalLM"]
    config.save_pretrained(folder)
    skeleton = DecoderModel.skeleton(folder)
    generator = torch.Generator().manual_seed(0)
    files: dict[str, str] = {}
    parts: dict[str, dict[str, torch.Size]] = {}
    for name, parameter in skeleton.model.named_parameters():
        block = next((i for i in range(n_blocks) if name.startswith(f"{skeleton.block_name(i)}.")), None)
        file = "rest.safetensors" if block is None else f"block_{block}.safetensors"
        files[name] = file
        parts.setdefault(file, {})[name] = parameter.shape
    for file, shapes in parts.items():
        tensors = {name: (0.02 * torch.randn(s, generator=generator)).half() for name, s in shapes.items()}
        save_file(tensors, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))


def measure(folder: Path, what: str, tokens: int) -> None:
    """Print, as JSON, the memory above the imports' and the seconds that one kind of use takes."""
    torch.set_num_threads(2)
    before, started = peak(), time.perf_counter()
    if what == "load":
        DecoderModel.load(folder)
    elif what == "score":
        model, _ = stream(DecoderModel.open(folder), torch.device("cpu"), budget=0)
        with torch.no_grad():
            model(torch.zeros(1, tokens, dtype=torch.int64))
    else:
        ids = torch.randint(0, 1000, (2, tokens), generator=torch.Generator().manual_seed(0))
        recipe = Recipe(OmniQuant(epochs=1), Scheme.parse("w2a16g64"), Loss({"mse": 0.9, "sw": 0.1}), seed=2)
        for _ in reconstruct(Fabric(accelerator="cpu", devices=1), DecoderModel.open(folder), recipe, ids):
            pass
    print(json.dumps({"gib": peak() - before, "seconds": time.perf_counter() - started}))


def main() -> None:
    """Write checkpoints and print what each use of them takes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=MODELS, default="llama-2-7b")
    parser.add_argument("--blocks", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--tokens", type=int, default=256, help="per sample; two samples")
    parser.add_argument("--measure", nargs=2, metavar=("FOLDER", "WHAT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(Path(options.measure[0]), options.measure[1], options.tokens)
        return
    print("| model | blocks | weights in fp32, GiB | use | peak above the imports, GiB | seconds |")
    print("|---|---|---|---|---|---|")
    for n_blocks in options.blocks:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            write_checkpoint(folder, options.model, n_blocks)
            size = sum(p.numel() for p in DecoderModel.skeleton(folder).model.parameters()) * 4 / GIB
            for what in ("reconstruct", "score", "load"):
                command = [sys.executable, __file__, "--measure", temporary, what, "--tokens", str(options.tokens)]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                found = json.loads(done.stdout.splitlines()[-1])
                numbers = f"{size:.2f} | {what} | {found['gib']:.2f} | {found['seconds']:.0f}"
                print(f"| {options.model} | {n_blocks} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
