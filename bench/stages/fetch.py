"""fetch-model and fetch-corpus: bring a model or a corpus into this project's layout and record its hashes."""

from __future__ import annotations

from dataclasses import replace

from bench.config.params import Params
from bench.config.sources import FolderModel, HubCorpus, HubModel, PackagedModel
from bench.inputs.models import HUB, ModelRecord
from bench.prepare.packages import scratch
from bench.store.checksums import seal
from bench.store.paths import corpus_folder, model_folder
from swq.files import atomic_folder


def fetch_model(params: Params, key: str) -> str:
    """Make data/models/KEY: a record of the model, and its weights where they had to be converted."""
    source = params.models[key]
    with atomic_folder(model_folder(key)) as folder:
        if isinstance(source, PackagedModel):
            from bench.prepare.gguf import convert_gguf

            convert_gguf(source, folder / "weights")
            record = ModelRecord.of_folder(folder / "weights", f"{source.package}: {source.file}")
            record = replace(record, weights=str(model_folder(key) / "weights"))
        else:
            record = _record(source)
        record.save(folder)
    return f"model {key}: {record.sha256[:12]} in {record.weights}"


def fetch_corpus(params: Params, key: str) -> str:
    """Make data/corpora/KEY: texts and tasks in one layout, with a manifest. Hub corpora keep their overlaps."""
    from bench.prepare.corpus_folder import write_corpus, write_hub_corpus
    from bench.prepare.readers import read_corpus

    source = params.corpora[key]
    if isinstance(source, HubCorpus):
        with atomic_folder(corpus_folder(key)) as folder:
            manifest = write_hub_corpus(source, folder)
            seal(folder)
        return f"corpus {key}: {manifest['passages']}, {manifest['records']}"
    with scratch() as cache:
        corpus = read_corpus(source, cache)
        with atomic_folder(corpus_folder(key)) as folder:
            manifest = write_corpus(corpus, folder)
            seal(folder)
    removed = manifest["calibration_passages_removed_for_overlap_with"]
    return f"corpus {key}: {manifest['passages']}, removed for overlap: {removed}"


def _record(source: FolderModel | HubModel) -> ModelRecord:
    """Return the record of a model that is used in place, fetched from the hub if need be."""
    if isinstance(source, FolderModel):
        weights, origin, called = source.path, str(source.path), str(source.path)
    else:
        from bench.prepare.hub import fetch_hub_model

        weights = fetch_hub_model(source)
        origin = f"{source.repo}@{weights.name}"
        called = f"{HUB}{origin}"
    from swq.models.folder import check_model_folder

    check_model_folder(weights)
    return replace(ModelRecord.of_folder(weights, origin), weights=called)
