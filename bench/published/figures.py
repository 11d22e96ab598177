"""Published figures, typed and validated once. `conf/published.yaml` is read here and nowhere else.

Only what a source prints is stored; averages are recomputed from its tasks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from bench.config.strict import Name, Strict, mistake, read_section, reporting
from bench.config.tasks import scored_tasks
from swq.errors import one_of
from swq.methods import METHODS
from swq.quant.scheme import Scheme

PUBLISHED = Path("conf/published.yaml")
OTHERS = ("hqq", "autoround", "efficientqat", "apiq-saliency")  # with published figures; no method's name here
TEXTS = ("wikitext2", "c4")  # with published perplexities

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]


def _spell_scheme(value: Any) -> Any:
    """Return the scheme as `str(Scheme)` spells it."""
    return None if value is None else str(Scheme.parse(str(value)))


class KnownCalibration(Strict):
    """What is known of the text that a method was calibrated on."""

    corpus: Name | None = None
    n_samples: int | None = Field(default=None, ge=1)
    seq_len: int | None = Field(default=None, ge=2)
    seed: int | None = Field(default=None, ge=0)


class KnownRecipe(Strict):
    """How figures were made, as far as it is known; what is left out is unknown.

    Attributes:
        calibration: of the whole method.
        method: its settings, as a configuration writes them; a start is a mapping with a name.
        loss: weights by term.
        precision: as a configuration writes it.
        note: what a configuration cannot say.
    """

    calibration: KnownCalibration | None = None
    method: dict[str, Any] = Field(default_factory=dict)
    loss: dict[str, float] = Field(default_factory=dict)
    precision: str | None = None
    note: str | None = None


class Figure(Strict):
    """What one source prints for one model, method and scheme.

    Attributes:
        model: the model's name on the hub.
        method: as a configuration names it, or one that this project lacks.
        scheme: compares with `str(cell.scheme)`; None is full precision.
        perplexity: by text, windows of 2048 tokens.
        tasks: zero-shot accuracy by task, in percent.
        mean_acc: mean over the five tasks as printed, in percent; compared with the tasks, and taken for their mean
            by `power` alone, where no source has them. If this file does not hold the tasks that the source prints,
            `note` says so.
        source: a key of the registry's sources.
        recipe: a key of the registry's recipes; None if nothing is known of it, or nothing needs to be.
        note: what to know before comparing with it.
    """

    model: str
    method: Name
    scheme: Annotated[str | None, BeforeValidator(reporting(_spell_scheme))] = None
    perplexity: dict[str, Positive] = Field(default_factory=dict)
    tasks: dict[str, Percent] = Field(default_factory=dict)
    mean_acc: Percent | None = None
    source: Name
    recipe: Name | None = None
    note: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> Figure:
        for text in self.perplexity:
            if text not in TEXTS:
                raise mistake(one_of("text", text, TEXTS))
        for task in self.tasks:
            if task not in scored_tasks():
                raise mistake(one_of("task", task, scored_tasks()))
        if self.method not in (*METHODS, *OTHERS):
            raise mistake(one_of("method", self.method, (*METHODS, *OTHERS)))
        if not self.measures:
            raise mistake("a figure must hold a number, in perplexity, tasks or mean_acc")
        if (self.method == "fp") != (self.scheme is None):
            raise mistake("every method needs a scheme, and fp (full precision) has none")
        return self

    @property
    def measures(self) -> set[str]:
        """What it holds numbers for, e.g. `perplexity.c4` or `tasks.piqa`."""
        return set(self.numbers)

    @property
    def numbers(self) -> dict[str, float]:
        """What it holds, by measure."""
        found = {f"perplexity.{text}": value for text, value in self.perplexity.items()}
        found |= {f"tasks.{task}": value for task, value in self.tasks.items()}
        return found | ({"mean_acc": self.mean_acc} if self.mean_acc is not None else {})

    def mean_accuracy(self, tasks: Iterable[str]) -> float | None:
        """Return the unweighted mean over `tasks` in percent; None if one of them is missing, or none is named."""
        values = [self.tasks.get(task) for task in tasks]
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known and len(known) == len(values) else None


class Registry(Strict):
    """The whole of conf/published.yaml."""

    sources: dict[Name, str]
    recipes: dict[Name, KnownRecipe] = Field(default_factory=dict)
    figures: tuple[Figure, ...]

    @model_validator(mode="after")
    def _known_names(self) -> Registry:
        for index, figure in enumerate(self.figures):
            named = [("source", figure.source, list(self.sources))]
            if figure.recipe is not None:
                named += [("recipe", figure.recipe, list(self.recipes)), *self._settings(figure)]
            for kind, name, allowed in named:
                if name not in allowed:
                    message = f"figures.{index}: {one_of(kind, name, allowed)}"
                    raise mistake(message)
        return self

    def _settings(self, figure: Figure) -> list[tuple[str, str, list[str]]]:
        """Return the settings that a figure's recipe names, each with those that the method has."""
        recipe = self.recipes.get(figure.recipe or "")
        if recipe is None or figure.method not in METHODS:
            return []
        allowed = [field.name for field in fields(METHODS[figure.method])]  # type: ignore[arg-type]
        return [(f"setting of {figure.method} in recipe {figure.recipe}", name, allowed) for name in recipe.method]

    @model_validator(mode="after")
    def _no_duplicates(self) -> Registry:
        seen: dict[tuple[str | None, ...], int] = {}
        for index, figure in enumerate(self.figures):
            row = (figure.model, figure.method, figure.scheme, figure.source)
            for measure in sorted(figure.measures):
                first = seen.setdefault((*row, measure), index)
                if first != index:
                    described = " ".join(part for part in row if part)
                    message = f"figures.{index}: {measure} of {described} is already in figures.{first}"
                    raise mistake(message)
        return self

    def find(self, model: str, method: str, scheme: str | None) -> list[Figure]:
        """Return what is published for a cell, in the file's order; `scheme` is `str(cell.scheme)`, None for fp."""
        return [f for f in self.figures if (f.model, f.method, f.scheme) == (model, method, scheme)]

    def sources_of(self, keys: Iterable[str]) -> str:
        """Return a sentence that says what sources are, in the order of their keys."""
        return "Sources: " + "; ".join(f"{key}: {self.sources[key]}" for key in sorted(set(keys))) + "."


def cite(value: float, source: str) -> str:
    """Return a printed number with its source; for a collapsed model it is shown without decimals."""
    return f"{value:.{2 if value < 1000 else 0}f} ({source})"


def load_published(path: Path = PUBLISHED) -> Registry:
    """Read and validate a file of published figures.

    Raises:
        UserError: one line that names the key, the value and what is allowed.
    """
    return read_section(Registry, path)
