"""The OPT family: LayerNorm, learned positions, ReLU, biases everywhere; norms before or (350M) after."""

from swq.models.family import Family, ScalePair

# Where norms follow attention and MLP, their output is also the residual, so it cannot be scaled.
PRE_NORM = ("do_layer_norm_before", True)

OPT = Family(
    model_types=("opt",),
    blocks="model.decoder.layers",
    linears=(
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.out_proj",
        "fc1",
        "fc2",
    ),
    pairs=(
        ScalePair(
            "self_attn_layer_norm", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), only_if=PRE_NORM
        ),
        ScalePair("self_attn.v_proj", ("self_attn.out_proj",)),
        ScalePair("final_layer_norm", ("fc1",), only_if=PRE_NORM),
        ScalePair("fc1", ("fc2",), let=False, only_if=("activation_function", "relu")),
    ),
    not_clipped=("self_attn.q_proj", "self_attn.k_proj"),
    query_key=("self_attn.q_proj", "self_attn.k_proj"),
)
