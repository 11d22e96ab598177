"""The smaller sections of params.yaml: models to train, calibration tokens, the machine, and what is compared."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from bench.config.strict import Name, Strict, mistake


class Training(Strict):
    """A small OPT to be trained on a corpus's training text."""

    corpus: str
    vocab_size: int = Field(ge=300)
    hidden_size: int = Field(ge=8)
    n_blocks: int = Field(ge=1)
    n_heads: int = Field(ge=1)
    seq_len: int = Field(ge=2)
    batch_size: int = Field(ge=1)
    steps: int = Field(ge=1)
    lr: float = Field(gt=0, lt=float("inf"))
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _heads_divide(self) -> Training:
        if self.hidden_size % self.n_heads:
            message = f"n_heads {self.n_heads} does not divide hidden_size {self.hidden_size}"
            raise mistake(message)
        return self


class Calibration(Strict):
    """Calibration tokens: `n_samples` windows of `seq_len` tokens; `seed` decides which.

    `sampling` names the method (swq/calibration.py): `windows` is ours, the others are those of the published recipes.
    With `start_token`, every window begins with the tokenizer's start token, and seq_len - 1 tokens of text follow.
    """

    model: str
    corpus: str
    text: Name = "calibration"
    sampling: Literal["windows", "gptq-joined", "gptq-documents", "awq-packed"] = "windows"
    n_samples: int = Field(ge=1)
    seq_len: int = Field(ge=2)
    seed: int = Field(ge=0)
    start_token: bool = False


class Runtime(Strict):
    """The device and the number of threads. Both affect the last bits of a result, so both are pinned and recorded.

    `kernels` says whether a CPU may train with compiled kernels (swq/kernels). They give the same bits as the plain
    formulas, or are not used.
    """

    device: Literal["auto", "cpu", "gpu"]
    threads: int = Field(ge=1)
    kernels: Literal["auto", "plain"] = "auto"


class Report(Strict):
    """What the tables compare: each cell with the one whose lost accuracy it is meant to recover.

    `question` is what the suite is run for, the first sentence of its page; `notes` stand at the page's end.
    """

    baselines: dict[str, str] = Field(default_factory=dict)
    question: str = ""
    notes: tuple[str, ...] = ()
