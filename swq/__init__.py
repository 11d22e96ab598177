"""swq: block-wise post-training quantization of language models, with sliced-Wasserstein alignment.

`swq.quantize` is the whole of it in one call. Layers, imports only downwards:

    command       the console command `swq`
    api           one call
    export        folders that transformers opens without this project
    reconstruct   walks over a model's blocks and trains each one under Lightning; beside it packed, a file format, and
                  measured and repeat, for model cards
    methods       RTN, AWQ, GPTQ, OmniQuant, TesseraQ: what is found per block; beside it checkpoint, pieces
    losses, models, kernels, tensor_file
    quant, plugins, calibration, perplexity   tensors in, tensors out
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swq.api import Quantized, quantize
    from swq.losses import Loss
    from swq.methods.apiq import ApiQ
    from swq.methods.awq import AWQ
    from swq.methods.gptq import GPTQ
    from swq.methods.omniquant import OmniQuant
    from swq.methods.rtn import RTN
    from swq.methods.tesseraq import TesseraQ
    from swq.quant.scheme import Scheme

__version__ = "0.1.0"

# Where a name is found. It is imported when it is asked for, because torch and transformers take seconds.
_FOUND_IN = {
    "quantize": "swq.api",
    "Quantized": "swq.api",
    "Loss": "swq.losses",
    "Scheme": "swq.quant.scheme",
    "ApiQ": "swq.methods.apiq",
    "RTN": "swq.methods.rtn",
    "AWQ": "swq.methods.awq",
    "GPTQ": "swq.methods.gptq",
    "OmniQuant": "swq.methods.omniquant",
    "TesseraQ": "swq.methods.tesseraq",
}
__all__ = ["AWQ", "GPTQ", "RTN", "ApiQ", "Loss", "OmniQuant", "Quantized", "Scheme", "TesseraQ", "quantize"]


def __getattr__(name: str) -> Any:
    if name not in _FOUND_IN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_FOUND_IN[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
