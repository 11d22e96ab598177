"""A corpus as datasets, and the removal of calibration passages that overlap with anything scored."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from datasets import Dataset, Features, List, Value, disable_progress_bars

TEXT_FEATURES = Features({"text": Value("string")})
OVERLAP_WORDS = 13  # a run of so many equal words counts as shared text, as in GPT-3's contamination check

disable_progress_bars()  # several short ones per corpus, of no use


def text_dataset(passages: list[str]) -> Dataset:
    """Return passages as a text: a dataset with one column, `text`."""
    return Dataset.from_dict({"text": passages}, features=TEXT_FEATURES)


@dataclass
class Corpus:
    """Texts and tasks, before anything is removed.

    Attributes:
        calibration: passages to calibrate on, one column `text`, like every text.
        perplexity: passages to measure perplexity on.
        tasks: the documents of each task, with its official fields.
        training: passages to train on.
    """

    calibration: Dataset
    perplexity: Dataset
    tasks: dict[str, Dataset]
    training: Dataset = field(default_factory=lambda: text_dataset([]))


def without_overlap(corpus: Corpus) -> tuple[Dataset, dict[str, int]]:
    """Return the calibration passages that share no run of 13 words with anything scored.

    Returns:
        the passages, and how many were removed for each text and task; one that overlaps with two counts for both.
    """
    own = set().union(*(_runs(passage["text"]) for passage in corpus.calibration))
    shared: dict[str, set[int]] = {}
    for name, scored in {"perplexity": corpus.perplexity, **corpus.tasks}.items():
        shared[name] = set().union(*(own & _runs(_record_text(record)) for record in scored))

    def mark(text: str) -> dict[str, list[str]]:
        runs = _runs(text)
        return {"shared_with": [name for name, scored in shared.items() if not runs.isdisjoint(scored)]}

    marks = corpus.calibration.map(
        mark,
        input_columns="text",
        remove_columns="text",
        features=Features({"shared_with": List(Value("string"))}),
        keep_in_memory=True,
        new_fingerprint="overlap",  # given, or `datasets` would hash all the runs to name a cache file
    )["shared_with"]
    counts = Counter(name for names in marks for name in names)
    kept = corpus.calibration.select([place for place, names in enumerate(marks) if not names])
    return kept, {name: counts[name] for name in shared}


def _runs(text: str) -> set[int]:
    """Return a number for each run of 13 words; for the whole text if it is shorter. Equal within this process."""
    words = re.findall(r"\w+", text.lower())
    return {hash(tuple(words[i : i + OVERLAP_WORDS])) for i in range(max(1, len(words) - OVERLAP_WORDS + 1))}


def _record_text(record: dict[str, Any]) -> str:
    """Return every string of a record, however deep, as one text."""

    def strings(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict | list):
            for item in value.values() if isinstance(value, dict) else value:
                yield from strings(item)

    return " ".join(strings(record))
