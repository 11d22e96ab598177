"""What a corpus folder holds. The pinned values are of the code before `datasets` read and wrote."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bench.config.sections import Calibration
from bench.config.sources import HubCorpus
from bench.inputs.texts import Text, calibration_samples
from bench.prepare import hub, packages
from bench.prepare.corpus_folder import write_corpus, write_hub_corpus
from bench.prepare.readers import from_folder
from bench.store.paths import MANIFEST, task_file, text_file
from swq.errors import UserError
from tests.support import tiny_suite

TEXTS = {
    "calibration": "a21e0b76ea010420ae0a058a801eff66d5f37a0a4551aa0c574b2d054f398131",
    "perplexity": "e2c0ca86e946952a5b0f7dd8bac0237ec41d4ed6f105f338e8d95233fe12d462",
}
TASKS = {
    "arc_challenge": "f370c7aa342c7bd2daeedbe03fa735ff7c881dd459adb6a2b76201bc01a7babd",
    "arc_easy": "9c4d58f630b75ba5aa88ce14baa79b267758422bf17543fe4484c9285c46260e",
    "hellaswag": "120a7161fdc8ab19260144e472a532b6a5060b17d575d15bb809518147d3b921",
    "piqa": "c61f73da19e30dff18dd5a57cd41a549c0b34afca42adc98f0b75551c1a62c2a",
    "winogrande": "45c4373037547b7eed76b366fe15fb7f7851a8223e24e8547f6e76dd840d04a9",
}
OF_HUB = "3dde1180b2cfb4425724697d14e556baf4707b73542b04246b312e9cfb00eda9"
SAMPLES = {  # two of 8 tokens, seed 2
    "windows": [[292, 268, 297, 274, 291, 264, 296, 296], [288, 280, 299, 299, 306, 274, 291, 274]],
    "gptq-joined": [[288, 280, 280, 307, 264, 280, 303, 307], [296, 297, 274, 274, 280, 299, 264, 268]],
    "gptq-documents": [[306, 303, 303, 307, 264, 307, 280, 264], [297, 299, 302, 296, 303, 296, 274, 268]],
}
PACKED = "e90ee930126dfc9eb275f59eed55e781be71208428c843266c69e14689268f95"  # eight of 60 tokens, awq-packed
ALL_TOKENS = "a176a1ddb7c10c970d3d42497db789fff3264e05ab0361435b799f176dced087"


@pytest.fixture(autouse=True)
def nothing_is_left_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Whatever is unpacked in passing is removed."""
    monkeypatch.setattr(packages, "DOWNLOADS", tmp_path / "downloads")
    yield
    assert not list((tmp_path / "downloads").glob("*"))


def written(folder: Path) -> dict[str, Any]:
    """Write the tiny corpus to folder/out."""
    tiny_suite.write_corpus(folder / "in")
    return write_corpus(from_folder(folder / "in", folder / "cache"), folder / "out")


def test_manifest_is_what_it_was(tmp_path: Path) -> None:
    manifest = written(tmp_path)
    assert manifest == {
        "texts": TEXTS,
        "tasks": TASKS,
        "passages": {"calibration": 20, "perplexity": 20},
        "records": dict.fromkeys(TASKS, 6),
        "calibration_passages_removed_for_overlap_with": {"perplexity": 1, **dict.fromkeys(TASKS, 0)},
    }
    assert (tmp_path / "out" / MANIFEST).read_text() == json.dumps(manifest, indent=2)


def test_sampled_tokens_are_what_they_were(tmp_path: Path) -> None:
    written(tmp_path)
    text = Text(tmp_path / "out", "calibration", tiny_suite.write_tokenizer(tmp_path / "tokenizer"))
    settings = {"model": "m", "corpus": "c", "n_samples": 2, "seq_len": 8, "seed": 2}
    for sampling, samples in SAMPLES.items():
        assert calibration_samples(text, Calibration(**settings, sampling=sampling)).tolist() == samples
    packed = Calibration(**settings | {"n_samples": 8, "seq_len": 60}, sampling="awq-packed")
    assert hashlib.sha256(calibration_samples(text, packed).numpy().tobytes()).hexdigest() == PACKED
    assert hashlib.sha256(text.joined().numpy().tobytes()).hexdigest() == ALL_TOKENS


def test_text_is_mapped_where_it_lies(tmp_path: Path) -> None:
    written(tmp_path)
    tokenizer = tiny_suite.write_tokenizer(tmp_path / "tokenizer")
    allocated = pa.total_allocated_bytes()
    text = Text(tmp_path / "out", "perplexity", tokenizer)
    assert pa.total_allocated_bytes() == allocated and text._passages.nbytes > 0
    assert len(text.joined())


def test_text_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no .*texts/val.arrow; run the stage that writes it"):
        Text(tmp_path, "val", tiny_suite.write_tokenizer(tmp_path / "tokenizer"))


def test_written_twice_every_byte_is_the_same(tmp_path: Path) -> None:
    for name in ("one", "two"):
        written(tmp_path / name)
    files = [path.relative_to(tmp_path / "one/out") for path in (tmp_path / "one/out").rglob("*.*")]
    assert len(files) == 8
    for file in files:
        assert (tmp_path / "one/out" / file).read_bytes() == (tmp_path / "two/out" / file).read_bytes()


def of_hub(monkeypatch: pytest.MonkeyPatch, path: Path, records: list[dict[str, Any]], kind: str) -> HubCorpus:
    """Return a corpus of one file that passes for one of the hub's."""
    with pa.output_stream(str(path), compression="detect") as stream:
        stream.write("".join(json.dumps(record) + "\n" for record in records).encode())
    monkeypatch.setattr(hub, "_download", lambda *_: path)
    return HubCorpus.model_validate(
        {"source": "hub", kind: {"piqa": {"repo": "a/b", "revision": "0" * 40, "file": path.name}}}
    )


def test_hubs_text_is_what_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its other fields change their types, and it is larger than what is written at once."""
    mixed: tuple[Any, ...] = ({"set": "web"}, "none", 7, ["a"], None)
    passages = [*tiny_suite.passages(2500, 8, seed=11), 'Größe \u2028 \x85 😀 "x"\n\n']
    records = [
        {"text": text, "meta": mixed[i % 5], "timestamp": "2019-04-25T12:57:54Z" if i % 2 else i}
        for i, text in enumerate(passages)
    ]
    for ending in (".jsonl.zst", ".json.gz"):
        corpus = of_hub(monkeypatch, tmp_path / f"val{ending}", records, "texts")
        manifest = write_hub_corpus(corpus, tmp_path / f"of{ending}")
        assert manifest["texts"] == {"piqa": OF_HUB} and manifest["passages"] == {"piqa": 2501}
        assert manifest["sources"] == {"piqa": {"repo": "a/b", "revision": "0" * 40, "file": f"val{ending}"}}
    one, two = (text_file(tmp_path / f"of{ending}", "piqa").read_bytes() for ending in (".jsonl.zst", ".json.gz"))
    assert one == two


def test_hubs_task_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [{"goal": "g", "sol1": "a", "sol2": "b", "label": 1}]
    manifest = write_hub_corpus(of_hub(monkeypatch, tmp_path / "valid.jsonl", records, "tasks"), tmp_path / "out")
    assert manifest["tasks"] == {"piqa": hashlib.sha256(json.dumps(records[0], sort_keys=True).encode()).hexdigest()}
    assert task_file(tmp_path / "out", "piqa").is_file()


def test_hubs_record_without_a_text_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = of_hub(monkeypatch, tmp_path / "val.jsonl.zst", [{"text": "x"}, {"body": "y"}], "texts")
    with pytest.raises(UserError, match=r"dataset a/b: val.jsonl.zst: record 1 holds no field 'text'"):
        write_hub_corpus(corpus, tmp_path / "out")
