"""Gemma 2 and the text models of Gemma 3: as LLaMA, but norms multiply by 1 + weight, and there are more of them.

Those behind the attention and the MLP, and those of queries and keys (Gemma 3), stay unchanged: no linear reads them.
"""

from swq.models.family import Family, ScalePair

GEMMA = Family(
    model_types=("gemma2", "gemma3_text"),
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
        ScalePair("input_layernorm", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), norm_offset=1.0),
        ScalePair("self_attn.v_proj", ("self_attn.o_proj",)),
        ScalePair("pre_feedforward_layernorm", ("mlp.gate_proj", "mlp.up_proj"), norm_offset=1.0),
        ScalePair("mlp.up_proj", ("mlp.down_proj",), let=False),
    ),
    not_clipped=("self_attn.q_proj", "self_attn.k_proj"),
    query_key=("self_attn.q_proj", "self_attn.k_proj"),
    bias_switches={"attention_bias": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")},
)
