"""A tiny random model of each family, and of some that no family describes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from swq.models.adapter import DecoderModel

COMMON: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
}
LLAMA_LIKE = COMMON | {"intermediate_size": 96, "num_key_value_heads": 2}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
# A window shorter than a sample, one layer with it and one without, heads wider than hidden / heads, small soft caps.
GEMMA_LIKE = LLAMA_LIKE | {
    "head_dim": 32,
    "query_pre_attn_scalar": 24,
    "sliding_window": 8,
    "layer_types": ["sliding_attention", "full_attention"],
}
OPT_LIKE = COMMON | {"ffn_dim": 96, "word_embed_proj_dim": 64, "dropout": 0.0}

# name: (model_type, configuration)
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", LLAMA_LIKE | {"num_key_value_heads": 4}),
    "llama-grouped": ("llama", LLAMA_LIKE),
    "mistral": ("mistral", LLAMA_LIKE | {"sliding_window": 8}),
    "qwen2": ("qwen2", LLAMA_LIKE),
    "qwen3": ("qwen3", LLAMA_LIKE | {"head_dim": 32}),
    "llama3": ("llama", LLAMA_LIKE | {"rope_parameters": LLAMA3_ROPE, "tie_word_embeddings": True}),
    "phi3": ("phi3", LLAMA_LIKE | {"num_key_value_heads": 4, "pad_token_id": 0}),
    "phi3-grouped": ("phi3", LLAMA_LIKE | {"pad_token_id": 0, "tie_word_embeddings": True}),
    "gemma2": ("gemma2", GEMMA_LIKE | {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 5.0}),
    "gemma3": ("gemma3_text", GEMMA_LIKE | {"num_key_value_heads": 4}),
    "opt": ("opt", OPT_LIKE),
    "opt-post-norm": ("opt", OPT_LIKE | {"do_layer_norm_before": False, "word_embed_proj_dim": 32}),
}
UNKNOWN: dict[str, tuple[str, dict[str, Any]]] = {
    "phi": ("phi", LLAMA_LIKE),
    "gpt_neox": ("gpt_neox", COMMON | {"intermediate_size": 96}),
    "olmo2": ("olmo2", LLAMA_LIKE),
    "falcon": ("falcon", COMMON | {"alibi": False}),  # its blocks return tuples
}
# Refused. The first block of one of them is dense.
EXPERTS: dict[str, tuple[str, dict[str, Any]]] = {
    "mixtral": ("mixtral", LLAMA_LIKE | {"num_local_experts": 4}),
    "olmoe": ("olmoe", LLAMA_LIKE | {"num_experts": 4, "eos_token_id": 1}),
    "qwen2_moe": ("qwen2_moe", LLAMA_LIKE | {"num_experts": 4, "moe_intermediate_size": 32, "mlp_only_layers": [0]}),
}
# Not to be quantized here, only scored: other positions, masks and heads.
SCORED: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", COMMON),  # learned positions
    "bloom": ("bloom", COMMON),  # ALiBi
    "falcon-alibi": ("falcon", COMMON | {"alibi": True}),
    "gemma2-wide": ("gemma2", LLAMA_LIKE | {"sliding_window": 128, "head_dim": 16}),  # logits capped behind the head
    "cohere": ("cohere", LLAMA_LIKE),  # logits scaled
    "mamba": ("mamba", COMMON | {"state_size": 8}),  # no attention: a state that every token changes
}


def tiny_model(name: str, **changes: Any) -> DecoderModel:
    """Return the model, with norms, biases and channels spread out so that nothing is 1 or 0 by chance."""
    return DecoderModel(tiny_lm(name, **changes))


def tiny_lm(name: str, **changes: Any) -> PreTrainedModel:
    """Return the same as transformers has it."""
    model_type, settings = (FAMILIES | UNKNOWN | EXPERTS | SCORED)[name]
    settings = settings | changes
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **settings))
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        nn.init.normal_(parameter, 1.0 if parameter.ndim == 1 else 0.0, 0.15, generator)
    return model.eval()
