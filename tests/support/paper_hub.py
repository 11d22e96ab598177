"""The paper suite's repositories, small: random models under the real names, texts and tasks in the real files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from bench.config.params import Params
from bench.config.sources import HubCorpus, HubDataset, HubModel
from tests.support import tiny_suite
from tests.support.hub import Hub

LLAMA: dict[str, Any] = {"model_type": "llama", "intermediate_size": 256, "num_key_value_heads": 4}
OPT: dict[str, Any] = {"model_type": "opt", "ffn_dim": 256, "word_embed_proj_dim": 128, "dropout": 0.0}
COMMON: dict[str, Any] = {
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 2048,
}
GATED = "meta-llama/"


def publish(hub: Hub, params: Params, folder: Path) -> None:
    """Put everything that the suite asks for on the hub, at the revisions that it asks for."""
    for place, source in enumerate(params.models.values()):
        assert isinstance(source, HubModel)
        _write_model(folder / str(place), source.repo, seed=place)
        _add(hub, "model", source, folder / str(place), gated=source.repo.startswith(GATED))
    tiny_suite.write_corpus(folder / "json", n_records=8)
    for corpus in params.corpora.values():
        assert isinstance(corpus, HubCorpus)
        for name, dataset in (corpus.texts | corpus.tasks).items():
            records = _texts(name) if name in corpus.texts else json.loads((folder / f"json/{name}.json").read_text())
            _write_records(folder / dataset.repo / dataset.file, records)
            _add(hub, "dataset", dataset, folder / dataset.repo)


def _add(hub: Hub, kind: Any, source: HubModel | HubDataset, folder: Path, gated: bool = False) -> None:
    if source.commit is None:
        hub.add(kind, source.repo, folder, source.revision, gated)
    else:  # a pull request, which stands at a commit of which only the first digits are known
        hub.add(kind, source.repo, folder, source.commit.ljust(40, "0"), gated, branch=source.revision)


def _write_model(folder: Path, repo: str, seed: int) -> None:
    """Write a model in half precision, as the real ones are; the 13B one in several files."""
    opt = "opt" in repo
    tokenizer = tiny_suite.write_opt_tokenizer(folder) if opt else tiny_suite.write_tokenizer(folder)
    settings = COMMON | (OPT if opt else LLAMA) | {"vocab_size": len(tokenizer)}
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**settings), dtype=torch.float16)
    model.save_pretrained(folder, max_shard_size="200KB" if "13b" in repo else "1GB")
    (folder / "pytorch_model.bin").write_bytes(b"never to be fetched")


def _texts(name: str) -> list[dict[str, str]]:
    """Return passages in the shape of a text's records: short ones, long ones, and empty lines as WikiText has them."""
    seed = sum(map(ord, name))
    passages = [*tiny_suite.passages(30, 25, seed), "", *tiny_suite.passages(30, 120, seed + 1)]
    return [{"text": f"{passage}\n"} for passage in passages]


def _write_records(path: Path, records: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
        return
    with pa.output_stream(path, compression={".gz": "gzip", ".zst": "zstd"}[path.suffix]) as stream:
        stream.write("".join(json.dumps(record) + "\n" for record in records).encode())


def shrink(values: dict[str, Any]) -> None:
    """Make the composed suite small enough for a CPU: fewer, shorter samples, fewer steps, no half precision.

    Models, cells, their keys, methods, losses, schemes, samplings and revisions stay.
    """
    values["runtime"] = {"device": "cpu", "threads": 1}
    for calibration in values["calibrations"].values():
        calibration |= {"n_samples": 8 if calibration["sampling"] == "awq-packed" else 4, "seq_len": 64}
    values["protocol"] |= {"limit": 4}
    values["protocol"]["perplexity"]["seq_len"] = 64
    values["protocol"]["perplexity"]["texts"]["c4"]["n_windows"] = 4
    for cell in values["cells"].values():
        if cell.get("precision") == "16-mixed":  # which needs a GPU
            cell["precision"] = "bf16-mixed"
        if "loss" in cell and "sw" in cell["loss"]["weights"]:
            cell["loss"]["n_projections"] = 8
        for setting, smaller in (("epochs", 1), ("thresholds", [0.5, 0.1]), ("iterations", 2)):
            if setting in cell["method"]:
                cell["method"][setting] = smaller
