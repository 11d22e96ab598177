"""How cells are scored: tasks, texts and the precision of the weights while scoring."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from bench.config.plugged import check_installed, used_by_tasks
from bench.config.strict import Name, Strict, mistake
from bench.config.tasks import scored_tasks
from swq.errors import one_of


class ScoredText(Strict):
    """How one text is cut into windows.

    `windows` takes the first `n_windows` non-overlapping windows of the joined text (null: all), as GPTQ's code does
    with WikiText2. `gptq-documents` takes one window from each of `n_windows` random documents, as it does with C4.
    """

    sampling: Literal["windows", "gptq-documents"] = "windows"
    n_windows: int | None = Field(default=None, ge=2)  # one window alone gives no interval
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _documents_are_counted(self) -> ScoredText:
        if self.sampling == "gptq-documents" and self.n_windows is None:
            raise mistake("sampling gptq-documents needs n_windows (published C4 numbers use 256)")
        return self


class Perplexity(Strict):
    """Perplexity by the GPTQ protocol, on texts of the protocol's corpus.

    With `start_token`, every window begins with the tokenizer's start token, and seq_len - 1 tokens of text follow. The
    GPTQ protocol has none: a window's first token then stands where models expect a start token, and a quantized model
    may break down on it. On the first `kl_windows` windows of each text, the KL divergence from full precision is
    measured too (null: on none).
    """

    seq_len: int = Field(ge=2)
    texts: dict[Name, ScoredText] = Field(min_length=1)
    start_token: bool = False
    kl_windows: int | None = Field(default=None, ge=2)

    @model_validator(mode="after")
    def _has_the_windows(self) -> Perplexity:
        for name, text in self.texts.items():
            if self.kl_windows and text.n_windows and self.kl_windows > text.n_windows:
                raise mistake(f"kl_windows: {self.kl_windows} are more than texts.{name} has ({text.n_windows})")
        return self


class Protocol(Strict):
    """How every cell is scored. Tables never mix two protocols."""

    corpus: str
    tasks: tuple[str, ...] = Field(min_length=1)
    task_versions: dict[str, float] | None = None  # lm-eval's; where given, another version is an error
    metric: Literal["acc"] = "acc"
    n_shots: Literal[0] = 0
    limit: int | None = Field(default=None, ge=1)  # first documents of each task; null takes all
    batch_tokens: int = Field(ge=1)  # of documents in one forward pass, with their padding
    add_bos_token: bool
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"  # of the weights and activations while scoring
    perplexity: Perplexity
    plugins: dict[str, str] = Field(default_factory=dict)  # packages that tasks come from, and their source's hash

    @model_validator(mode="after")
    def _known_tasks(self) -> Protocol:
        for task in self.tasks:
            if task not in scored_tasks():
                raise mistake(one_of("task", task, scored_tasks()))
        check_installed(self.plugins, used_by_tasks(self.tasks))
        if len(set(self.tasks)) < len(self.tasks):
            raise mistake("tasks: each may be named only once")
        if self.task_versions is not None and set(self.task_versions) != set(self.tasks):
            raise mistake("task_versions: must name every task of the protocol, and no other")
        return self
