"""Phi-3 and those built like it (Phi-3.5, Phi-4): as LLaMA, but with queries, keys and values in one linear, and with
the gate and what it multiplies in another.

Values and what the gate multiplies are the last parts of these linears. Where several heads share values, the parts are
not equal, and that pair is left out.
"""

from swq.models.family import Family, ScalePair

PHI3 = Family(
    model_types=("phi3",),
    blocks="model.layers",
    linears=("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj"),
    pairs=(
        ScalePair("input_layernorm", ("self_attn.qkv_proj",)),
        ScalePair("self_attn.qkv_proj", ("self_attn.o_proj",), parts=3),
        ScalePair("post_attention_layernorm", ("mlp.gate_up_proj",)),
        ScalePair("mlp.gate_up_proj", ("mlp.down_proj",), let=False, parts=2),
    ),
    not_clipped=("self_attn.qkv_proj",),
)
