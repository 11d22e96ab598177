"""The LLaMA family: RMSNorm, rotary positions, gated MLP, linears without biases."""

from swq.models.family import Family

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
)
