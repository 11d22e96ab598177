"""The packed artefact: a quantized model as codes, scales and zero points, and nothing that could be derived.

One safetensors file. For every quantized linear, by its path in the model, it holds
    <path>.codes        flat uint8, codes packed at n bits each
    <path>.scale        (out, n_groups), as stored
    <path>.zero_point   flat uint8, packed at n bits each
and, if the method adds an adapter to the weight,
    <path>.adapter_down (rank, in), as stored
    <path>.adapter_up   (out, rank)
and, if the model has no bias there and got one,
    <path>.bias         (out,), as stored
and a JSON header: format, version, scheme, shapes, the method, and the SHA-256 of the model that it was made from.
The file is byte-identical for identical content, and damage is noticed when it is loaded (swq/tensor_file.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from swq.errors import UserError
from swq.quant.affine import Adapter, QuantizedWeight
from swq.quant.packing import pack, unpack
from swq.quant.scheme import Scheme
from swq.tensor_file import OnDisk, open_tensors, write_tensors

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from swq.models.weights import Weights

FORMAT = "swq-packed"
VERSION, WITH_ADAPTERS, WITH_BIASES = 3, 4, 5  # an artefact is written as the lowest one that has what it holds
PARTS = ("codes", "scale", "zero_point")
ADAPTER = ("adapter_down", "adapter_up")
BIAS = "bias"
CHANGED = "changed/"  # prefix of tensors that are stored unpacked


def pack_weight(path: str, weight: QuantizedWeight, added_bias: Tensor | None = None) -> dict[str, Tensor]:
    """Return the stored tensors of one linear, on the CPU. `added_bias` (out,) is one that the model does not have."""
    n_bits, adapter = weight.scheme.n_bits, weight.adapter
    parts = (pack(weight.codes, n_bits), weight.scale.squeeze(-1), pack(weight.zero_point, n_bits))
    packed = dict(zip(PARTS, parts, strict=True))
    if adapter is not None:
        packed |= dict(zip(ADAPTER, (adapter.down, adapter.up), strict=True))
    if added_bias is not None:
        packed[BIAS] = added_bias
    return {f"{path}.{part}": tensor.contiguous().cpu() for part, tensor in packed.items()}


def unpack_weight(
    path: str, tensors: Mapping[str, Tensor], shape: tuple[int, ...], scheme: Scheme, device: torch.device | None = None
) -> QuantizedWeight:
    """Invert `pack_weight` for a weight of `shape` (out, in), on `device` or on the tensors' own device."""
    codes, scale, zero_point = (tensors[f"{path}.{part}"].to(device) for part in PARTS)
    scale = scale.unsqueeze(-1)
    has_adapter = f"{path}.{ADAPTER[0]}" in tensors
    adapter = Adapter(*(tensors[f"{path}.{part}"].to(device) for part in ADAPTER)) if has_adapter else None
    return QuantizedWeight(
        codes=unpack(codes, scheme.n_bits, shape),
        scale=scale,
        zero_point=unpack(zero_point, scheme.n_bits, tuple(scale.shape)),
        scheme=scheme,
        adapter=adapter,
    )


def added_biases(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the biases among packed tensors that the model does not have, in float32, by their path in it."""
    return {name: tensors[name].float() for name in tensors if name.endswith(f".{BIAS}")}


@dataclass(frozen=True)
class Artefact:
    """A quantized model in its stored form.

    Attributes:
        method: name of the method that made it.
        scheme: bits and group size; None where nothing is quantized.
        model_sha256: identity of the model that it was made from.
        shapes: (out, in) of every quantized linear by its path in the model.
        tensors: the packed tensors; in a loaded artefact each is read from its file on access.
        changed: the model's other tensors that differ from the original (norms, biases), by their path in the model.
    """

    method: str
    scheme: Scheme | None
    model_sha256: str
    shapes: dict[str, tuple[int, ...]]
    tensors: Mapping[str, Tensor]
    changed: Mapping[str, Tensor] = field(default_factory=dict)

    def weight(self, path: str, device: torch.device | None = None) -> QuantizedWeight:
        """Return the quantized weight of the linear at `path`."""
        assert self.scheme is not None
        return unpack_weight(path, self.tensors, self.shapes[path], self.scheme, device)

    @property
    def besides(self) -> str:
        """What is stored beside the codes, for people."""
        more = [("adapters", self.has_adapters), ("added biases", bool(self.biased))]
        parts = ["scales", "zero points", *(name for name, held in more if held)]
        return f"{', '.join(parts[:-1])} and {parts[-1]}"

    def nbytes(self, path: str) -> int:
        """Return the stored bytes of the linear at `path`."""
        names = (f"{path}.{part}" for part in (*PARTS, *ADAPTER, BIAS))
        return sum(self.tensors[name].nbytes for name in names if name in self.tensors)

    @property
    def has_adapters(self) -> bool:
        """Whether something is added to the weights that the codes stand for."""
        return any(name.endswith(ADAPTER) for name in self.tensors)

    @property
    def biased(self) -> list[str]:
        """Paths of the linears that got a bias, which the model does not have."""
        return [name.removesuffix(f".{BIAS}") for name in self.tensors if name.endswith(f".{BIAS}")]

    def bits_per_weight(self) -> float | None:
        """Return the stored bits per quantized weight: codes and what is stored `besides`. None if there are none.

        Norms and biases that replace the model's own of the same size are not counted.
        """
        n_weights = sum(out * in_features for out, in_features in self.shapes.values())
        n_bytes = sum(tensor.nbytes for tensor in self.tensors.values())
        return 8 * n_bytes / n_weights if n_weights else None

    def save(self, path: Path) -> None:
        """Write the artefact atomically."""
        header = {
            "format": FORMAT,
            "version": WITH_BIASES if self.biased else WITH_ADAPTERS if self.has_adapters else VERSION,
            "method": self.method,
            "scheme": str(self.scheme) if self.scheme else None,
            "model_sha256": self.model_sha256,
            "shapes": self.shapes,
        }
        changed = {CHANGED + name: tensor for name, tensor in self.changed.items()}
        write_tensors(path, {**self.tensors, **changed}, header)

    @classmethod
    def load(cls, path: Path) -> Artefact:
        """Read an artefact.

        Raises:
            UserError: the file is missing, damaged, not an artefact, or of another version.
        """
        tensors, header = open_tensors(path)
        if header.get("format") != FORMAT:
            raise UserError(f"{path} is not a {FORMAT} artefact")
        if (found := header.get("version")) not in (VERSION, WITH_ADAPTERS, WITH_BIASES):
            known = f"{VERSION} to {WITH_BIASES}"
            raise UserError(f"{path} is an artefact of version {found}; this code reads versions {known}")
        try:
            scheme = Scheme.parse(header["scheme"]) if header["scheme"] else None
            shapes = {name: tuple(shape) for name, shape in header["shapes"].items()}
            packed = OnDisk(path, {name: name for name in tensors if not name.startswith(CHANGED)})
            changed = OnDisk(path, {n.removeprefix(CHANGED): n for n in tensors if n.startswith(CHANGED)})
            return cls(header["method"], scheme, header["model_sha256"], shapes, packed, changed)
        except (KeyError, AttributeError, TypeError) as error:
            raise UserError(f"{path} has a damaged header ({error})") from error

    @torch.no_grad()
    def apply(self, model: PreTrainedModel, model_sha256: str) -> None:
        """Overwrite what differs in `model`: quantized linears with their dequantized weights, one at a time.

        Linears get the biases that the model does not have; its configuration then says so.

        Raises:
            UserError: the artefact was made from another model.
        """
        from swq.models.biases import add_biases  # imports transformers, for this case only

        self.check_made_from(model_sha256)
        for path in self.shapes:
            parameter = model.get_parameter(f"{path}.weight")
            parameter.copy_(self.weight(path).dequantize())
        add_biases(model, self.biased)
        for path, tensor in (dict(self.changed) | added_biases(self.tensors)).items():
            model.get_parameter(path).copy_(tensor)

    def over(self, weights: Weights) -> Weights:
        """Return `weights` with what this artefact stores in place of the model's own."""
        return _Overlay(self, weights)

    def check_made_from(self, model_sha256: str) -> None:
        """Raise unless the artefact was made from this model.

        Raises:
            UserError: it was not.
        """
        if model_sha256 != self.model_sha256:
            raise UserError(
                f"the artefact was made from model {self.model_sha256[:12]}, not from this one ({model_sha256[:12]});"
                " reconstruct it again"
            )


@dataclass(frozen=True)
class _Overlay:
    artefact: Artefact
    below: Weights

    def __contains__(self, path: str) -> bool:
        return path in self.below

    def tensor(self, path: str, device: torch.device) -> Tensor:
        for stored in (self.artefact.changed, self.artefact.tensors):  # packed tensors have no parameter's name
            if path in stored:
                return stored[path].to(device)
        linear = path.removesuffix(".weight")
        if linear in self.artefact.shapes and linear != path:
            return self.artefact.weight(linear, device).dequantize()
        return self.below.tensor(path, device)
