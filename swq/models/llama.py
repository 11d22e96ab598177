"""The LLaMA family and those built like it: RMSNorm, rotary positions, gated MLP.

Qwen2 has biases on queries, keys and values; Qwen3 has norms inside the attention, which stay unchanged.
"""

from swq.models.family import Family, ScalePair

LLAMA = Family(
    model_types=("llama", "mistral", "qwen2", "qwen3"),
    blocks="model.layers",
    linears=(
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "mlp.gate_proj",
        "mlp.up_proj",
        "mlp.down_proj",
    ),
    pairs=(
        ScalePair("input_layernorm", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
        ScalePair("self_attn.v_proj", ("self_attn.o_proj",)),
        ScalePair("post_attention_layernorm", ("mlp.gate_proj", "mlp.up_proj")),
        ScalePair("mlp.up_proj", ("mlp.down_proj",), let=False),
    ),
    not_clipped=("self_attn.q_proj", "self_attn.k_proj"),
    query_key=("self_attn.q_proj", "self_attn.k_proj"),
    bias_switches={
        "attention_bias": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
        "mlp_bias": ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
    },
)
