"""swq: block-wise post-training quantization of language models, with sliced-Wasserstein alignment.

Layers, imports only downwards:

    reconstruct   walks over a model's blocks and trains each one under Lightning
    methods       RTN, AWQ, OmniQuant, TesseraQ: what is searched or learned per block
    checkpoint, streaming
    quant, losses, models, calibration, perplexity   tensors in, tensors out
"""

__version__ = "0.1.0"
