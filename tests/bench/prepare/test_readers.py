"""The same records from every kind of file, and one line on every mistake in one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from datasets.arrow_writer import ArrowWriter

from bench.prepare.corpus import Corpus, text_dataset, without_overlap
from bench.prepare.readers import _arc_record, from_folder, read_records
from swq.errors import UserError
from tests.support import tiny_suite

RECORDS: list[dict[str, Any]] = [
    {
        "text": f'Größe {i}\u2028\x85 😀 "x"\n',
        "day": "2001-02-03",  # the JSON parser of `datasets` would make a time of it
        "when": "2019-04-25T12:57:54Z",
        "n": i - 1,
        "share": i / 3,
        "choices": {"text": ["a", "b"][:i], "label": ["B", "A"][:i]},
        "right": i == 1,
        "nothing": None if i else "set",
    }
    for i in range(3)
]
MIXED = [{"text": f"passage {i}", "meta": meta} for i, meta in enumerate([{"set": "web"}, "none", 7, ["a"], None])]


def write(path: Path, records: list[Any]) -> Path:
    """Write records as the ending of `path` says."""
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
    elif path.suffix == ".arrow":
        with ArrowWriter(path=str(path)) as writer:
            writer.write_table(pa.Table.from_pylist(records))
            writer.finalize()
    elif path.suffix == ".json":
        path.write_text(json.dumps(records, indent=1), encoding="utf-8")
    else:
        with pa.output_stream(str(path), compression="detect") as stream:
            stream.write(lines)
    return path


@pytest.mark.parametrize(
    "ending", [".json", ".jsonl", ".json.gz", ".jsonl.gz", ".jsonl.zst", ".jsonl.bz2", ".parquet", ".arrow"]
)
def test_every_kind_of_file_holds_the_same_records(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"some.name{ending}", RECORDS)
    records = list(read_records(path, tmp_path / "cache"))
    assert json.dumps(records) == json.dumps(RECORDS), "values, their types, and the order of fields"
    text = read_records(path, tmp_path / "cache", text=True)
    assert text.column_names == ["text"] and list(text["text"]) == [record["text"] for record in RECORDS]


@pytest.mark.parametrize("ending", [".jsonl", ".json.gz", ".jsonl.zst", ".parquet", ".arrow"])
def test_text_is_mapped_and_not_held(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"text{ending}", RECORDS)
    (file,) = read_records(path, tmp_path / "cache", text=True).cache_files
    assert Path(file["filename"]).is_relative_to(tmp_path)


@pytest.mark.parametrize("ending", [".json", ".jsonl.gz"])
def test_other_fields_of_a_text_may_be_anything(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"text{ending}", MIXED * 1000)
    assert list(read_records(path, tmp_path / "cache", text=True)["text"]) == [r["text"] for r in MIXED * 1000]
    with pytest.raises(UserError, match="cannot be read as JSON: "):
        read_records(path, tmp_path / "cache")


def test_text_may_be_plain_strings(tmp_path: Path) -> None:
    for ending in (".json", ".jsonl"):
        path = write(tmp_path / f"text{ending}", ["one", "two"])
        assert list(read_records(path, tmp_path / "cache", text=True)["text"]) == ["one", "two"]


def test_lacking_field_reads_none_and_is_not_lost(tmp_path: Path) -> None:
    path = write(tmp_path / "piqa.jsonl", [{"goal": "g"}, {"goal": "h", "label": 1}])
    assert list(read_records(path)) == [{"goal": "g", "label": None}, {"goal": "h", "label": 1}]


def raw(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def rows(*records: Any) -> Callable[[Path], object]:
    return lambda path: write(path, list(records))


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("a.json", raw(b"[1, "), "a.json cannot be read as JSON: Expecting value"),
        ("a.jsonl", raw(b'{"text": "x"}\n{"te'), "a.jsonl cannot be read as JSON: Unterminated string"),
        ("a.jsonl", raw(b"\xff\xff"), "a.jsonl cannot be read as JSON: 'utf-8' codec"),
        ("a.jsonl.gz", raw(b"not packed"), "a.jsonl.gz cannot be read as JSON: "),
        ("a.jsonl.zst", raw(b"not packed"), "a.jsonl.zst cannot be read as JSON: "),
        ("a.parquet", raw(b"not parquet"), "a.parquet cannot be read: "),
        ("a.arrow", raw(b"not arrow"), "a.arrow cannot be read: "),
        ("a.json", raw(b"[]"), "a.json must hold a list that is not empty"),
        ("a.jsonl", raw(b"\n\n"), "a.jsonl must hold a list that is not empty"),
        ("a.txt", raw(b"text"), r"a.txt: the ending '.txt' is not one of .json, .jsonl, "),
        ("a.txt.gz", raw(b"text"), r"a.txt.gz: the ending '.txt.gz' is not one of"),
        ("a.json", rows("x", 3), "a.json: record 1 holds no field 'text' that is a string"),
        ("a.jsonl.zst", rows({"text": "x"}, {"body": "y"}), "record 1 holds no field 'text'"),
        ("a.jsonl", rows({"text": "x"}, {"text": None}), "record 1 holds no field 'text'"),
        ("a.parquet", lambda path: pq.write_table(pa.table({"text": pa.array([], pa.string())}), path), "a list that"),
        ("a.parquet", rows({"body": "y"}), "a.parquet: record 0 holds no field 'text'"),
        ("a.parquet", rows({"text": "x"}, {"text": None}), "a.parquet: record 1 holds no field 'text'"),
        ("a.arrow", rows({"text": 3}), "a.arrow: record 0 holds no field 'text'"),
    ],
)
def test_mistakes_in_a_text_are_named_in_one_line(
    tmp_path: Path, name: str, make: Callable[[Path], object], message: str
) -> None:
    make(tmp_path / name)
    with pytest.raises(UserError, match=message) as raised:
        read_records(tmp_path / name, tmp_path / "cache", text=True)
    assert str(raised.value).startswith(f"corpus file {tmp_path / name}") and "\n" not in str(raised.value)


def test_task_of_strings_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "piqa.json", [{"goal": "g"}, "x"])
    with pytest.raises(UserError, match=r"piqa.json: record 1 is not an object with named fields"):
        read_records(path)


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"])
def test_folder_may_hold_any_kind(tmp_path: Path, ending: str) -> None:
    tiny_suite.write_corpus(tmp_path / "json")
    (tmp_path / "other").mkdir()
    for path in (tmp_path / "json").iterdir():
        records = json.loads(path.read_text())
        records = [{"text": r} if isinstance(r, str) else r for r in records]
        write(tmp_path / f"other/{path.stem}{ending}", records)
    ours, theirs = from_folder(tmp_path / "json", tmp_path / "c"), from_folder(tmp_path / "other", tmp_path / "c")
    assert list(ours.calibration) == list(theirs.calibration) and list(ours.perplexity) == list(theirs.perplexity)
    assert list(ours.training) == list(ours.calibration), "without a file for it"
    assert list(ours.tasks) == list(theirs.tasks)
    for name, records in ours.tasks.items():
        assert json.dumps(list(records)) == json.dumps(list(theirs.tasks[name]))


def test_folders_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"corpus file .*calibration.json cannot be read"):
        from_folder(tmp_path)
    tiny_suite.write_corpus(tmp_path / "in")
    write(tmp_path / "in/piqa.jsonl", [{}])
    with pytest.raises(UserError, match=r"holds piqa.json and piqa.jsonl; remove one of them"):
        from_folder(tmp_path / "in")


def test_passages_that_share_a_run_of_words_with_anything_scored_are_removed() -> None:
    own, shared, in_task = tiny_suite.passages(3, 30, seed=5)
    corpus = Corpus(
        calibration=text_dataset([own, f"Before it {shared} and after it", in_task, f"{shared} {in_task}", "short"]),
        perplexity=text_dataset([shared.upper(), "Short!"]),
        tasks={
            "piqa": Dataset.from_list([{"goal": "?", "nested": {"text": [in_task]}}]),
            "boolq": Dataset.from_list([{"passage": "something else"}]),
        },
    )
    kept, removed = without_overlap(corpus)
    assert list(kept["text"]) == [own]
    assert removed == {"perplexity": 3, "piqa": 2, "boolq": 0}


def test_twelve_equal_words_are_not_enough() -> None:
    words = [f"word{i}" for i in range(13)]
    scored = text_dataset([" ".join(["before", *words[:12], "after"])])
    kept, removed = without_overlap(Corpus(text_dataset([" ".join(words)]), scored, {}))
    assert len(kept) == 1 and removed == {"perplexity": 0}


def test_arc_document_gets_its_official_fields() -> None:
    document = {"id": "m1", "query": "Question: Why?\nAnswer:", "choices": ["x", "y", "z"], "gold": 2}
    assert _arc_record(document) == {
        "id": "m1",
        "question": "Why?",
        "choices": {"text": ["x", "y", "z"], "label": ["A", "B", "C"]},
        "answerKey": "C",
    }
