"""The LLaMA family: RMSNorm, rotary positions, gated MLP, linears without biases."""

from swq.models.family import Family, ScalePair

LLAMA = Family(
    model_types=("llama",),
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
        ScalePair("mlp.up_proj", ("mlp.down_proj",)),
    ),
)
