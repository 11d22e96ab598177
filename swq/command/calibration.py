"""Tokens from a file of text, or tokens as they are: to calibrate on, and to measure on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from swq.calibration import sample_windows
from swq.errors import UserError
from swq.models.folder import reason
from swq.perplexity import text_windows
from swq.tensor_file import read_tensors

SAMPLES, LENGTH = 128, 2048  # of text, where nothing else is asked for
CALIBRATION, PERPLEXITY = "--calibration", "--perplexity"
KINDS = (".jsonl", ".txt", ".safetensors")


@dataclass(frozen=True)
class Text:
    """What a command line says of a text.

    Attributes:
        path: a file of text or tokens.
        samples: windows of text to take; None for the default.
        length: tokens of a window; None for the default.
        option: that named the file.
    """

    path: Path
    samples: int | None = None
    length: int | None = None
    option: str = CALIBRATION

    @property
    def said(self) -> str:
        """The option and the file, for messages."""
        return f"{self.option} {self.path}"


def read_calibration(text: Text, model: Path, seed: int) -> Tensor:
    """Return calibration tokens (N, T) int64.

    A .jsonl file has a field "text" in each line, a .txt file is one text. Texts are joined by a blank line, read by
    the tokenizer in the model's folder, and cut into windows; N of them are drawn by the seed. A .safetensors file
    holds the tokens, and they are taken as they are.

    Raises:
        UserError: the file cannot be read, holds too little, or tokens that the model does not have.
    """
    return _checked(text, model, lambda ids: sample_windows(ids, text.samples or SAMPLES, text.length or LENGTH, seed))


def read_windows(text: Text, model: Path) -> Tensor:
    """Return the windows (N, T) int64 that perplexity is measured on: as `read_calibration`, but from the beginning.

    Raises:
        UserError: as `read_calibration`.
    """
    length = text.length or min(LENGTH, getattr(_config(model), "max_position_embeddings", LENGTH))

    def windows(ids: Tensor) -> Tensor:
        if len(ids) < length:
            raise UserError(f"perplexity: the text has {len(ids)} tokens, less than one window of {length}")
        return text_windows(ids, length, text.samples)

    return _checked(text, model, windows)


def _checked(text: Text, model: Path, windows: Callable[[Tensor], Tensor]) -> Tensor:
    path = text.path
    if not path.is_file():
        raise UserError(f"{text.option}: there is no file {path}")
    if path.suffix not in KINDS:
        raise UserError(f"{text.said}: the name must end in one of {', '.join(KINDS)}")
    if path.suffix == ".safetensors":
        if text.samples is not None or text.length is not None:
            number = "--samples" if text.option == CALIBRATION else "--windows"
            raise UserError(f"{number} and --length are for text; a .safetensors file is taken as it is")
        tokens = _stored(text)
    else:
        texts = _lines(text) if path.suffix == ".jsonl" else [_text(text)]
        ids = _tokenized(model, "\n\n".join(texts))
        try:
            tokens = windows(ids)
        except UserError as error:
            raise UserError(f"{text.said}: {str(error).partition(': ')[2]}") from error
    if tokens.numel() == 0 or int(tokens.min()) < 0:
        raise UserError(f"{text.said}: it holds no tokens, or negative ones")
    if int(tokens.max()) >= (size := _config(model).vocab_size):
        raise UserError(f"{text.said}: token {int(tokens.max())} is none of the model's {size}")
    return tokens


def _stored(text: Text) -> Tensor:
    path = text.path
    try:
        with safe_open(path, framework="pt") as handle:
            ours = "swq" in (handle.metadata() or {})
            tensors = {} if ours else {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"{text.said} is no safetensors file: {reason(error)}") from error
    if ours:
        tensors, _ = read_tensors(path)  # checks that it is not damaged
    found = tensors.get("tokens", next(iter(tensors.values())) if len(tensors) == 1 else None)
    if found is None:
        raise UserError(f"{text.said}: it holds {len(tensors)} tensors, and none is called tokens")
    if found.dtype != torch.int64 or found.dim() != 2:
        given = f"{found.dtype} {tuple(found.shape)}"
        raise UserError(f"{text.said}: tokens must be torch.int64 of shape (samples, tokens), not {given}")
    return found


def _text(text: Text) -> str:
    try:
        return text.path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{text.said} is not UTF-8 at byte {error.start}") from error


def _lines(text: Text) -> list[str]:
    texts = []
    for number, line in enumerate(_text(text).split("\n"), start=1):  # splitlines() would cut inside a text, too
        if not line.strip():
            continue
        try:
            found = json.loads(line)["text"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(f'{text.said}, line {number}: it is not JSON with a field "text"') from error
        if not isinstance(found, str):
            raise UserError(f'{text.said}, line {number}: "text" is not text')
        texts.append(found)
    return texts


def _tokenized(model: Path, text: str) -> Tensor:
    """Return (L,) int64, with the tokenizer's own start token."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"the tokenizer in {model} cannot be read: {reason(error)}") from error
    ids = tokenizer(text, verbose=False)["input_ids"]  # longer than the model's context, on purpose
    return torch.tensor(ids, dtype=torch.int64)


def _config(model: Path) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(model, local_files_only=True).get_text_config()
