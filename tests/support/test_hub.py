"""The hub on loopback, asked by the client libraries themselves, each in a process that read its address at import."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.hub import MEMBER, STRANGER, Hub

pytestmark = pytest.mark.slow  # each question is asked by a process that imports the client libraries

MODEL, DATASET = "0123456789" * 4, "abcdef0123" * 4
RECORDS = [{"text": "first"}, {"text": "second"}]
LINES = "".join(f"{json.dumps(record)}\n" for record in RECORDS).encode()

CARD = """---
configs:
- config_name: first
  data_files:
  - {split: train, path: first/train-*}
  - {split: test, path: first/test-*}
- config_name: second
  data_files:
  - {split: test, path: second/test-*}
---
"""

ASK = """
import json, sys
from pathlib import Path
from datasets import load_dataset
from huggingface_hub import hf_hub_download, snapshot_download

MODEL, DATASET = {"revision": "%s"}, {"revision": "%s"}
for question in sys.argv[1:]:
    try:
        answer = eval(question)
    except Exception as error:
        answer = f"{type(error).__name__}: {error}"
    print(json.dumps(answer))
"""


def write_model(folder: Path) -> Path:
    """A model's files, one of them in a folder, one that is not asked for."""
    (folder / "nested").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "nested" / "model.safetensors").write_bytes(bytes(range(256)) * 1000)
    (folder / "pytorch_model.bin").write_bytes(b"unwanted")
    return folder


def write_dataset(folder: Path) -> Path:
    """Two configurations in Parquet that a card lists, and two compressed files that it does not."""
    for name in ("first/train", "first/test", "second/test"):
        path = folder / f"{name}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"text": [name]}), path)
    (folder / "lines.json.gz").write_bytes(gzip.compress(LINES))
    with pa.CompressedOutputStream(str(folder / "lines.jsonl.zst"), "zstd") as stream:
        stream.write(LINES)
    (folder / "README.md").write_text(CARD)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders of a model and of a dataset."""
    folder = tmp_path_factory.mktemp("published")
    return write_model(folder / "model"), write_dataset(folder / "dataset")


@pytest.fixture
def hub(folders: tuple[Path, Path]) -> Iterator[Hub]:
    """A hub that holds both, open and gated."""
    model, dataset = folders
    with Hub() as hub:
        hub.add("model", "some/model", model, MODEL)
        hub.add("dataset", "some/texts", dataset, DATASET)
        hub.add("model", "gated/model", model, MODEL, gated=True)
        hub.add("dataset", "gated/texts", dataset, DATASET, gated=True)
        yield hub


def ask(environment: dict[str, str], *questions: str) -> list[object]:
    """Evaluate the questions in one process; an exception's class and message is an answer too."""
    command = [sys.executable, "-c", ASK % (MODEL, DATASET), *questions]
    answers = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout
    return [json.loads(answer) for answer in answers.splitlines()]


SNAPSHOT = """[sorted(str(path.relative_to(root)) for path in root.rglob('*.*'))
    for root in [Path(snapshot_download('some/model', allow_patterns=['*.json', '*.safetensors'], **MODEL))]]"""


def test_snapshot_holds_what_was_asked_for_and_a_second_one_asks_nothing(hub: Hub, tmp_path: Path) -> None:
    expected = [[["config.json", "nested/model.safetensors"]]]
    assert ask(hub.environment(tmp_path), SNAPSHOT) == expected
    asked = len(hub.requests)
    assert ("GET", f"/some/model/resolve/{MODEL}/nested/model.safetensors") in hub.requests
    assert ask(hub.environment(tmp_path), SNAPSHOT) == expected
    assert len(hub.requests) == asked
    assert ask(hub.environment(tmp_path), "Path(snapshot_download('some/model')).name") == [MODEL]  # of main


def test_download_that_broke_off_is_taken_up_where_it_did(hub: Hub, tmp_path: Path) -> None:
    content = bytes(range(256)) * 45_000  # the client keeps what it received in pieces of 10 MiB
    folder = tmp_path / "large"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(content)
    hub.add("model", "some/large", folder, MODEL)
    hub.cut_after = len(content) - 1
    (path,) = ask(hub.environment(tmp_path / "home"), "hf_hub_download('some/large', 'model.safetensors', **MODEL)")
    assert Path(str(path)).read_bytes() == content
    assert [method for method, _ in hub.requests] == ["HEAD", "GET", "GET"]


def test_datasets_load_by_their_card_and_by_files_that_the_caller_names(hub: Hub, tmp_path: Path) -> None:
    load = "[record['text'] for record in load_dataset('some/texts', {}, **DATASET)]"
    answers = ask(
        hub.environment(tmp_path),
        load.format("'first', split='train'"),
        load.format("'first', split='test'"),
        load.format("'second', split='test'"),
        load.format("data_files={'train': 'lines.json.gz'}, split='train'"),
        "Path(hf_hub_download('some/texts', 'lines.jsonl.zst', repo_type='dataset', **DATASET)).read_bytes().hex()",
    )
    assert answers[:4] == [["first/train"], ["first/test"], ["second/test"], ["first", "second"]]
    assert pa.input_stream(pa.BufferReader(bytes.fromhex(str(answers[4]))), compression="zstd").read() == LINES


@pytest.mark.parametrize(
    ("token", "status", "told"),
    [("", 401, "You must be authenticated"), (STRANGER, 403, "to ask for access"), ("hf_nobody", 401, "credentials")],
)
def test_gated_repository_is_refused_as_the_hub_does(
    hub: Hub, tmp_path: Path, token: str, status: int, told: str
) -> None:
    model, dataset = ask(
        hub.environment(tmp_path, token),
        "snapshot_download('gated/model', **MODEL)",
        "load_dataset('gated/texts', 'first', **DATASET)",
    )
    assert str(model).startswith("HfHubHTTPError" if token == "hf_nobody" else f"GatedRepoError: {status}")
    assert str(dataset).startswith("HfHubHTTPError" if token == "hf_nobody" else "DatasetNotFoundError")
    assert told in str(dataset)


def test_member_reads_a_gated_repository(hub: Hub, tmp_path: Path) -> None:
    assert ask(
        hub.environment(tmp_path, MEMBER),
        "Path(snapshot_download('gated/model', **MODEL)).name",
        "load_dataset('gated/texts', 'second', split='test', **DATASET).num_rows",
    ) == [MODEL, 1]


def test_what_is_missing_is_told_apart(hub: Hub, tmp_path: Path) -> None:
    missing = "7" * 40
    answers = ask(
        hub.environment(tmp_path),
        "snapshot_download('no/model', **MODEL)",
        f"snapshot_download('some/model', revision='{missing}')",
        "hf_hub_download('some/model', 'no.file', **MODEL)",
        "load_dataset('no/texts', 'first', **DATASET)",
        f"load_dataset('some/texts', 'first', revision='{missing}')",
        "load_dataset('some/texts', data_files='no.json', **DATASET)",
    )
    beginnings = [
        "RepositoryNotFoundError: ",
        "RevisionNotFoundError: ",
        "RemoteEntryNotFoundError: ",
        "DatasetNotFoundError: Dataset 'no/texts' doesn't exist on the Hub or cannot be accessed",
        f"DatasetNotFoundError: Revision '{missing}' doesn't exist for dataset 'some/texts'",
        "FileNotFoundError: Couldn't find any data file",
    ]
    for answer, beginning in zip(answers, beginnings, strict=True):
        assert str(answer).startswith(beginning)
