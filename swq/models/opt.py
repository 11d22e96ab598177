"""The OPT family: LayerNorm, learned positions, ReLU, biases everywhere; norms before or (350M) after."""

from swq.models.family import Family, ScalePair

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
        ScalePair("self_attn_layer_norm", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
        ScalePair("self_attn.v_proj", ("self_attn.out_proj",)),
        ScalePair("final_layer_norm", ("fc1",)),
        ScalePair("fc1", ("fc2",), let=False),
    ),
    pre_norm_flag="do_layer_norm_before",
)
