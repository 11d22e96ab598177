"""Quantization methods by the name a configuration uses."""

from swq.methods.apiq import ApiQ
from swq.methods.awq import AWQ
from swq.methods.base import Method
from swq.methods.fp import FullPrecision
from swq.methods.gptq import GPTQ
from swq.methods.omniquant import OmniQuant
from swq.methods.rtn import RTN
from swq.methods.tesseraq import TesseraQ

# A new method is a file beside this one and a line here.
METHODS: dict[str, type[Method]] = {
    "fp": FullPrecision,
    "rtn": RTN,
    "awq": AWQ,
    "gptq": GPTQ,
    "omniquant": OmniQuant,
    "tesseraq": TesseraQ,
    "apiq": ApiQ,
}
