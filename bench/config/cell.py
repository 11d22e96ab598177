"""A cell: one run of one method on one model, as a configuration gives it and as the library takes it."""

from __future__ import annotations

from dataclasses import fields
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from bench.config.plugged import check_installed, used_by_cell
from bench.config.strict import Name, Strict, check_keys, mistake, one_line, reporting
from swq.errors import UserError, one_of
from swq.identity import as_data
from swq.losses import Loss
from swq.methods import METHODS
from swq.methods.base import Method, RangeMethod
from swq.methods.plugin import NAME, every_method
from swq.quant.scheme import Scheme
from swq.reconstruct.recipe import Recipe


def _build_method(value: Any, kind: type[Any] = Method) -> Any:
    """Build a method of a kind from a mapping; a setting that is itself a method is a mapping too."""
    allowed = {name: m for name, m in every_method().items() if issubclass(m, kind)}
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise UserError(f"a method is a mapping such as {{ name: rtn }} (allowed names: {', '.join(allowed)})")
    settings = {key: v for key, v in value.items() if key != "name"}
    name = settings.pop("plugin", None) if value["name"] == NAME else value["name"]
    if name not in allowed:
        raise UserError(one_of("method", name, allowed))
    method = allowed[name]
    check_keys(settings, [field.name for field in fields(method)])  # type: ignore[arg-type]
    if "start" in settings:
        settings["start"] = _build_start(settings["start"])
    return TypeAdapter(method).validate_python(settings)


def _build_start(value: Any) -> Any:
    """Build the method that another one starts from."""
    try:
        return _build_method(value, RangeMethod)
    except ValidationError as error:
        raise UserError(f"start: {one_line(error)}") from error
    except (UserError, PydanticCustomError) as error:
        raise UserError(f"start: {error}") from error


def _build_loss(value: Any) -> Any:
    if isinstance(value, dict):
        check_keys(value, [field.name for field in fields(Loss)])
        return TypeAdapter(Loss).validate_python(value)
    if value is None or isinstance(value, Loss):
        return value
    raise UserError("a loss is a mapping such as { weights: { mse: 0.9, sw: 0.1 } }")


def _build_scheme(value: Any) -> Any:
    return value if value is None or isinstance(value, Scheme) else Scheme.parse(str(value))


class Cell(Strict):
    """One run of one method on one model. Every cell names a calibration set; methods that need none do not read it.

    `preset` names the file of conf/preset/ that the cell was composed from. Its values are already filled in here.
    `plugins` holds the packages whose plug-ins the cell uses, each with the hash of its source.
    """

    model: str
    calibration: str
    preset: Name | None = None
    method: Annotated[Method, BeforeValidator(reporting(_build_method))]
    scheme: Annotated[Scheme | None, BeforeValidator(reporting(_build_scheme))] = None
    loss: Annotated[Loss | None, BeforeValidator(reporting(_build_loss))] = None
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    scale_dtype: Literal["float16", "float32"] = "float16"
    bias_compensation: bool = False
    seed: int = Field(default=0, ge=0)
    plugins: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _plugins_as_composed(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("plugins", {}), dict):
            check_installed(values.get("plugins", {}), used_by_cell(values))
        return values

    @model_validator(mode="after")
    def _complete(self) -> Cell:
        try:
            assert self.recipe
        except UserError as error:
            raise mistake(str(error)) from error
        return self

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe that the library runs."""
        return Recipe(self.method, self.scheme, self.loss, self.seed, self.scale_dtype, self.bias_compensation)

    def as_data(self) -> dict[str, Any]:
        """Return what decides the cell's artefact, apart from its inputs, as JSON would hold it; defaults left out."""
        values = {
            "method": as_data(self.method),
            "scheme": as_data(self.scheme),
            "loss": as_data(self.loss),
            "precision": self.precision,
            "scale_dtype": self.scale_dtype,
            "bias_compensation": self.bias_compensation,
            "seed": self.seed,
        }
        given = {n: v for n, v in values.items() if getattr(self, n) != type(self).model_fields[n].default}
        return given | ({"plugins": self.plugins} if self.plugins else {})

    @property
    def has_sw(self) -> bool:
        """Whether the sliced-Wasserstein term is in its loss."""
        return self.loss is not None and "sw" in self.loss.active

    @property
    def has_placebo(self) -> bool:
        """Whether the sliced-Wasserstein distance to another sample's output is in its loss."""
        return self.loss is not None and self.loss.needs_other

    @property
    def has_saliency(self) -> bool:
        """Whether the saliency term is in its training."""
        return self.method.gradient_samples > 0

    @property
    def method_name(self) -> str:
        """The method's name in params.yaml, which is that of its folder in swq/methods."""
        return next((name for name, method in METHODS.items() if type(self.method) is method), NAME)
