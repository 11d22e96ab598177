"""What is measured: a random block of given shapes, its inputs, and the methods that train on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from bench.speed import plain
from swq.errors import UserError, one_of
from swq.losses import Loss
from swq.methods.base import Method
from swq.methods.omniquant import OmniQuant
from swq.methods.quantizer import BlockContext, BlockQuantizer
from swq.methods.rtn import RTN
from swq.methods.tesseraq import TesseraQ
from swq.models import families
from swq.models.adapter import DecoderModel
from swq.quant.scheme import Scheme
from swq.reconstruct.data import ActivationPaths, BlockData

PRECISION = "32-true"
VOCABULARY = 64  # no step looks at it
N_PROJECTIONS = 128  # the paper's number of directions
SW_WEIGHT = 0.1  # the paper's weight of SW; the rest is the other term's


@dataclass(frozen=True)
class Shapes:
    """A block's shapes; the defaults are SmolLM2-135M's. OPT has no key-value heads of its own.

    Raises:
        UserError: they do not fit together, or the family is not known.
    """

    hidden: int = 576
    intermediate: int = 1536
    heads: int = 9
    kv_heads: int = 3
    family: str = "llama"

    def __post_init__(self) -> None:
        known = [model_type for family in families() for model_type in family.model_types]
        if self.family not in known:
            raise UserError(one_of("family", self.family, known))
        if min(self.hidden, self.intermediate, self.heads, self.kv_heads) < 1:
            raise UserError("hidden, intermediate, heads and kv-heads must be at least 1")
        if self.hidden % self.heads or (self.hidden // self.heads) % 2:
            raise UserError(f"hidden {self.hidden} does not divide into {self.heads} heads of even width")
        if self.family != "opt" and self.heads % self.kv_heads:
            raise UserError(f"heads {self.heads} is not a multiple of kv-heads {self.kv_heads}")

    def model(self, tokens: int) -> DecoderModel:
        """Return a random model of one such block that takes `tokens` tokens. Always the same one."""
        sizes: dict[str, Any] = {"ffn_dim": self.intermediate, "word_embed_proj_dim": self.hidden, "dropout": 0.0}
        if self.family != "opt":
            sizes = {
                "intermediate_size": self.intermediate,
                "num_key_value_heads": self.kv_heads,
                "head_dim": self.hidden // self.heads,
                "pad_token_id": None,  # Phi-3's own is beyond this vocabulary
            }
        config = AutoConfig.for_model(
            self.family,
            vocab_size=VOCABULARY,
            hidden_size=self.hidden,
            num_hidden_layers=1,
            num_attention_heads=self.heads,
            max_position_embeddings=tokens,
            **sizes,
        )
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return DecoderModel(AutoModelForCausalLM.from_config(config))


@dataclass(frozen=True)
class Case:
    """A method as it is measured.

    Attributes:
        name: for people.
        samples: per step.
        base: the loss's term besides SW.
        method: returns the method with this many steps.
        reference: returns the plain quantizer of a block's linears in a scheme.
    """

    name: str
    samples: int
    base: str
    method: Callable[[int], Method]
    reference: Callable[[dict[str, nn.Linear], Scheme], plain.PlainOmniQuant | plain.PlainTesseraQ]

    def weights(self, sw: bool) -> dict[str, float]:
        """Return the terms' weights, with SW or without."""
        return {self.base: 1 - SW_WEIGHT, "sw": SW_WEIGHT} if sw else {self.base: 1.0}

    def loss(self, sw: bool) -> Loss:
        return Loss(self.weights(sw), N_PROJECTIONS)


def _tesseraq(soft_share: float) -> Case:
    """Return one round of TesseraQ from round to nearest."""
    return Case(
        name=f"TesseraQ, {soft_share:.0%} soft".replace("%", " %"),
        samples=2,
        base="l2",
        method=lambda steps: TesseraQ(thresholds=(soft_share,), iterations=steps, start=RTN()),
        reference=lambda linears, scheme: plain.PlainTesseraQ(linears, scheme.n_bits, scheme.group_size, soft_share),
    )


CASES = (
    Case(
        name="OmniQuant",
        samples=1,
        base="mse",
        method=lambda steps: OmniQuant(epochs=steps),
        reference=lambda linears, scheme: plain.PlainOmniQuant(linears, scheme.n_bits, scheme.group_size),
    ),
    _tesseraq(0.75),  # the first of its ten rounds
    _tesseraq(0.25),  # the fourth
)


class Subject:
    """A block on Fabric's device, with `samples` samples of `tokens` tokens and their targets.

    Attributes:
        block: the module.
        linears: what is quantized in it.
        arguments: what it takes besides its input.
        data: inputs and targets, (samples, tokens, hidden), where the product keeps them.
        batch: the same on the device.
    """

    def __init__(self, fabric: Fabric, shapes: Shapes, scheme: Scheme, tokens: int, samples: int) -> None:
        self.fabric, self.shapes, self.scheme, self.tokens = fabric, shapes, scheme, tokens
        self._model = shapes.model(tokens)
        ids = torch.randint(0, VOCABULARY, (samples, tokens), generator=torch.Generator().manual_seed(0))
        self._paths = ActivationPaths(fabric, self._model, ids)
        self._model.fill_block(0, fabric.device)
        self.block = self._model.blocks[0]
        self.linears = self._model.linears(0)
        self.arguments = self._paths.kwargs(0)
        self.data: BlockData = self._paths.block_data(0, with_aug=False)
        self.batch = self.data.batch(fabric, list(range(samples)))

    def quantizer(self, case: Case, steps: int) -> BlockQuantizer:
        """Return the product's quantizer of the block, new, for a case with this many steps."""
        context = BlockContext(
            block=self.block,
            linears=self.linears,
            scheme=self.scheme,
            scale_dtype=torch.float16,
            not_clipped=self._model.family.not_clipped,
            pairs=self._model.scale_pairs(0),
            moments=lambda names, group_size, n_tokens, tensors=None: self._paths.moments(
                0, names, group_size, n_tokens, tensors
            ),
        )
        return case.method(steps).quantizer(context)
