"""Writing a corpus folder: texts/NAME.arrow, tasks/TASK.arrow, and a manifest with a SHA-256 and a count of each.

Each is one Arrow file, which `datasets` maps into memory. `save_to_disk` would add files that differ at every run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from datasets import Dataset
from datasets.arrow_writer import ArrowWriter

from bench.config.sources import HubCorpus, HubDataset
from bench.prepare.corpus import Corpus, without_overlap
from bench.prepare.hub import fetch_hub_records
from bench.prepare.packages import scratch
from bench.store.paths import MANIFEST, task_file, text_file
from swq.files import write_text

RECORDS_AT_ONCE = 1000

Record = dict[str, Any]
Named = Iterable[tuple[str, Dataset]]


def write_corpus(corpus: Corpus, folder: Path) -> dict[str, Any]:
    """Remove overlapping calibration passages, write the corpus folder and return its manifest."""
    kept, removed = without_overlap(corpus)
    texts = {"calibration": kept, "perplexity": corpus.perplexity}
    return _write(folder, texts.items(), corpus.tasks.items(), calibration_passages_removed_for_overlap_with=removed)


def write_hub_corpus(source: HubCorpus, folder: Path) -> dict[str, Any]:
    """Fetch a corpus from the hub, write the corpus folder and return its manifest, which names every commit.

    Raises:
        UserError: something cannot be fetched, or holds no text where a text is wanted.
    """

    def fetched(datasets: dict[str, HubDataset], text: bool) -> Iterator[tuple[str, Dataset]]:
        for name, dataset in datasets.items():
            with scratch() as cache:  # removed before the next one is unpacked
                yield name, fetch_hub_records(dataset, cache, text=text)

    sources = {name: d.model_dump(exclude_none=True) for name, d in (source.texts | source.tasks).items()}
    return _write(folder, fetched(source.texts, text=True), fetched(source.tasks, text=False), sources=sources)


def _write(folder: Path, texts: Named, tasks: Named, **facts: dict[str, Any]) -> dict[str, Any]:
    """Write texts, tasks and the manifest, and return that.

    Hashes are of the content, not of the files, whose bytes differ between versions of pyarrow.
    """
    texts_written = {name: _store(rows, text_file(folder, name), _text_bytes) for name, rows in texts}
    tasks_written = {name: _store(rows, task_file(folder, name), _task_bytes) for name, rows in tasks}
    manifest: dict[str, Any] = {
        "texts": {name: sha256 for name, (sha256, _) in sorted(texts_written.items())},
        "tasks": {name: sha256 for name, (sha256, _) in sorted(tasks_written.items())},
        "passages": {name: count for name, (_, count) in texts_written.items()},
        "records": {name: count for name, (_, count) in tasks_written.items()},
    } | facts
    write_text(folder / MANIFEST, json.dumps(manifest, indent=2))
    return manifest


def _store(dataset: Dataset, path: Path, as_bytes: Callable[[Record, bool], bytes]) -> tuple[str, int]:
    """Write a dataset as one Arrow file, batch by batch; return the SHA-256 of its content and its length."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, first = hashlib.sha256(), True
    with ArrowWriter(features=dataset.features, path=str(path)) as writer:
        for table in dataset.with_format("arrow").iter(RECORDS_AT_ONCE):
            for record in table.to_pylist():
                digest.update(as_bytes(record, first))
                first = False
            writer.write_table(table)
        writer.finalize()
    return digest.hexdigest(), len(dataset)


def _text_bytes(record: Record, first: bool) -> bytes:
    return record["text"].encode() + b"\0"


def _task_bytes(record: Record, first: bool) -> bytes:
    return (b"" if first else b"\n") + json.dumps(record, sort_keys=True).encode()
