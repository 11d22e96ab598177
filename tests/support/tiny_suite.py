"""A suite small enough for a test: a random model, its tokenizer, texts and tasks in their official shapes."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch
import yaml
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

WORDS = [
    "the",
    "a",
    "red",
    "blue",
    "old",
    "small",
    "river",
    "city",
    "train",
    "garden",
    "house",
    "music",
    "lives",
    "runs",
]


def passages(n: int, length: int, seed: int) -> list[str]:
    """Return `n` passages of random words."""
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=length)) + "." for _ in range(n)]


def write_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Write a tokenizer trained on the words."""
    trainer = ByteLevelBPETokenizer()
    trainer.train_from_iterator(passages(50, 30, seed=1), vocab_size=320, show_progress=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=trainer._tokenizer, eos_token="<|end|>")
    tokenizer.save_pretrained(folder)
    return tokenizer


def write_opt_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Write a tokenizer in OPT's files, which begins every text with </s>."""
    trainer = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer.train_from_iterator(passages(50, 30, seed=1), vocab_size=320, show_progress=False, special_tokens=special)
    folder.mkdir(parents=True, exist_ok=True)
    trainer.save_model(str(folder))
    settings = {"tokenizer_class": "GPT2Tokenizer", "add_bos_token": True, "add_prefix_space": False}
    tokens = {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | tokens))
    (folder / "config.json").write_text(json.dumps({"model_type": "opt"}))
    return AutoTokenizer.from_pretrained(folder)


def write_model(folder: Path) -> None:
    """Write a two-block LLaMA with grouped-query attention, and a tokenizer trained on its words."""
    tokenizer = write_tokenizer(folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)


def write_corpus(folder: Path, n_records: int = 6) -> None:
    """Write texts and the five tasks. One calibration passage stands in the perplexity text too."""
    folder.mkdir(parents=True)
    calibration, perplexity = passages(20, 40, seed=2), passages(20, 40, seed=3)
    arc = [
        {
            "id": f"q{i}",
            "question": f"What holds {WORDS[i]}?",
            "choices": {"text": WORDS[i : i + 4], "label": ["A", "B", "C", "D"]},
            "answerKey": "ABCD"[i % 4],
        }
        for i in range(n_records)
    ]
    files: dict[str, list[Any]] = {
        "calibration": [*calibration, perplexity[0]],
        "perplexity": perplexity,
        "arc_easy": arc,
        "arc_challenge": arc[::-1],
        "winogrande": [
            {"sentence": "The train sees _ near the city.", "option1": w, "option2": "music", "answer": str(1 + i % 2)}
            for i, w in enumerate(WORDS[:n_records])
        ],
        "piqa": [
            {"goal": f"How to see {w}?", "sol1": "Look at the river.", "sol2": "Sleep under music.", "label": i % 2}
            for i, w in enumerate(WORDS[:n_records])
        ],
        "hellaswag": [
            {
                "activity_label": "Music",
                "ctx_a": f"A {w} train runs.",
                "ctx_b": "it",
                "ctx": f"A {w} train runs. it",
                "endings": ["makes music.", "sees a garden.", "holds.", "lives near the river."],
                "label": str(i % 4),
            }
            for i, w in enumerate(WORDS[:n_records])
        ],
    }
    for name, records in files.items():
        (folder / f"{name}.json").write_text(json.dumps(records))


def write_inputs(folder: Path) -> None:
    """Write the model and the corpus where `params` says they are."""
    write_model(folder / "inputs/model")
    write_corpus(folder / "inputs/corpus")


def params() -> dict[str, Any]:
    """Return the suite's params: fp, RTN, OmniQuant, OmniQuant + SW with aug_loss, TesseraQ + SW from AWQ."""
    base = {"model": "tiny", "calibration": "tiny-4x32"}
    trained = base | {"scheme": "w3a16g32", "seed": 2}
    return {
        "suite": "tiny",
        "runtime": {"device": "cpu", "threads": 1},
        "models": {"tiny": {"source": "folder", "path": "inputs/model"}},
        "trainings": {},
        "corpora": {"words": {"source": "folder", "path": "inputs/corpus"}},
        "calibrations": {"tiny-4x32": {"model": "tiny", "corpus": "words", "n_samples": 4, "seq_len": 32, "seed": 2}},
        "protocol": {
            "corpus": "words",
            "tasks": ["winogrande", "hellaswag", "arc_challenge", "arc_easy", "piqa"],
            "limit": 5,
            "batch_tokens": 64,
            "add_bos_token": False,
            "perplexity": {"seq_len": 64, "texts": {"perplexity": {"n_windows": 4}}},
        },
        "cells": {
            "tiny-fp": base | {"method": {"name": "fp"}},
            "tiny-rtn": base | {"method": {"name": "rtn"}, "scheme": "w3a16g32"},
            "tiny-omniquant": trained
            | {"method": {"name": "omniquant", "epochs": 2}, "loss": {"weights": {"mse": 1.0}}},
            "tiny-omniquant-sw": trained
            | {
                "method": {"name": "omniquant", "epochs": 2, "aug_loss": True},
                "loss": {"weights": {"mse": 0.9, "sw": 0.1}, "n_projections": 16},
            },
            "tiny-tesseraq-sw": trained
            | {
                "method": {
                    "name": "tesseraq",
                    "thresholds": [0.5, 0.1],
                    "iterations": 3,
                    "lr": 0.01,
                    "start": {"name": "awq"},
                },
                "loss": {"weights": {"l2": 0.9, "sw": 0.1}, "n_projections": 16, "normalised": True},
            },
        },
        "report": {
            "baselines": {
                "tiny-omniquant": "tiny-rtn",
                "tiny-omniquant-sw": "tiny-omniquant",
                "tiny-tesseraq-sw": "tiny-omniquant",
            },
            "notes": ["A random model."],
        },
        "plan": None,
    }


def of_seed(values: dict[str, Any], key: str, seed: int) -> dict[str, Any]:
    """Return the suite's cell `key` with another seed, and add the calibration of that seed which it names."""
    values["calibrations"][f"tiny-s{seed}"] = values["calibrations"]["tiny-4x32"] | {"seed": seed}
    return values["cells"][key] | {"seed": seed, "calibration": f"tiny-s{seed}"}


def write_params(folder: Path, values: dict[str, Any]) -> None:
    """Write params.yaml."""
    (folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
