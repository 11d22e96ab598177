"""Biases that linears lack and may get: the model's configuration has a switch for them, which other software reads."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn
from transformers import CONFIG_MAPPING, PreTrainedModel

from swq.models import family_of


def may_get_bias(model_type: str) -> dict[str, str]:
    """Return the linears, by their path in a block, that may have a bias, and each one's switch in config.json.

    A family's switches hold for those of its model types whose configuration in transformers has them.
    """
    family = family_of(model_type)
    if family is None or model_type not in CONFIG_MAPPING:
        return {}
    known = CONFIG_MAPPING[model_type]
    own = {switch: linears for switch, linears in family.bias_switches.items() if hasattr(known, switch)}
    return {linear: switch for switch, linears in own.items() for linear in linears}


def no_biases(model_type: str) -> str:
    """Return why biases of a model cannot be shifted."""
    return f"bias_compensation shifts biases, and no quantized linear of a {model_type} model has or may get one"


def add_biases(model: PreTrainedModel, paths: Collection[str]) -> None:
    """Give linears that lack a bias one of zeros, and turn its switch on in the model's configuration.

    Args:
        model: stays on its device, in its dtype, also if its parameters are only shapes.
        paths: of linears that may get a bias.
    """
    switches = may_get_bias(model.config.model_type) if paths else {}
    for path in paths:
        linear = model.get_submodule(path)
        assert isinstance(linear, nn.Linear)
        if linear.bias is None:
            zeros = linear.weight.new_zeros(linear.out_features)
            linear.bias = nn.Parameter(zeros, requires_grad=False)
        setattr(model.config, next(own for name, own in switches.items() if path.endswith(f".{name}")), True)
