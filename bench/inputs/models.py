"""A fetched model: where its weights are, and the hashes that identify it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.store.files import read_json, write_json
from bench.store.paths import MODEL, model_folder
from swq.errors import UserError
from swq.files import sha256_file
from swq.identity import fingerprint

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

HUB = "hub:"


@dataclass(frozen=True)
class ModelRecord:
    """What fetch-model writes.

    Attributes:
        weights: the transformers folder, relative to the repository or absolute; or hub:REPO@COMMIT, so that the record
            is the same wherever the hub's cache lies.
        sha256: identity of configuration and weights together.
        tokenizer_sha256: identity of the tokenizer's files.
        origin: what it was made from, for people.
    """

    weights: str
    sha256: str
    tokenizer_sha256: str
    origin: str

    @classmethod
    def of_folder(cls, weights: Path, origin: str) -> ModelRecord:
        """Hash the model in a transformers folder.

        Raises:
            UserError: the folder holds no safetensors or no tokenizer.
        """
        tensors, tokenizer = _weights(weights), _tokenizer(weights)
        if not tensors:
            raise UserError(f"model {str(weights)!r} holds no *.safetensors")
        if not tokenizer:
            raise UserError(f"model {str(weights)!r} holds no tokenizer files")
        return cls(str(weights), _digest([weights / "config.json", *tensors]), _digest(tokenizer), origin)

    @classmethod
    def load(cls, key: str) -> ModelRecord:
        path = model_folder(key) / MODEL
        try:
            return cls(**read_json(path))
        except TypeError as error:
            raise UserError(f"{path} is damaged ({error}); remove {path.parent} and fetch the model again") from error

    @property
    def folder(self) -> Path:
        """The transformers folder.

        Raises:
            UserError: the hub's cache no longer holds it.
        """
        if not self.weights.startswith(HUB):
            return Path(self.weights)
        from bench.prepare.hub import cached_hub_model

        return cached_hub_model(*self.weights.removeprefix(HUB).split("@"))

    def check_weights(self, key: str) -> None:
        """Hash configuration and weights again, before anything is computed from them.

        Raises:
            UserError: they are not those that were fetched.
        """
        self._check(
            key, "config.json or the weights", [self.folder / "config.json", *_weights(self.folder)], self.sha256
        )

    def check_tokenizer(self, key: str) -> None:
        """Hash the tokenizer's files again.

        Raises:
            UserError: they are not those that were fetched.
        """
        self._check(key, "the tokenizer", _tokenizer(self.folder), self.tokenizer_sha256)

    def _check(self, key: str, what: str, files: list[Path], fetched: str) -> None:
        try:
            found = _digest(files)
        except OSError as error:
            raise UserError(f"model {key}: {error.filename} cannot be read: {error.strerror}") from error
        if found != fetched:
            raise UserError(
                f"model {key}: {what} in {self.folder} changed since the model was fetched, or are damaged; if the"
                f" change is meant, `dvc repro --force --single-item fetch-model@{key}` takes it"
            )

    def save(self, folder: Path) -> None:
        write_json(folder / MODEL, asdict(self))

    def tokenizer(self) -> PreTrainedTokenizerBase:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.folder)


def tokenize(tokenizer: PreTrainedTokenizerBase, passages: list[str]) -> list[int]:
    """Return the tokens of all passages as one text, joined by a blank line, with the tokenizer's own start token."""
    # Often longer than the model's context on purpose; the warning about that would mislead.
    return tokenizer("\n\n".join(passages), verbose=False)["input_ids"]


def _weights(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def _tokenizer(folder: Path) -> list[Path]:
    return sorted(path for name in ("tokenizer*", "vocab*", "merges*") for path in folder.glob(name))


def _digest(files: list[Path]) -> str:
    return fingerprint([(file.name, sha256_file(file)) for file in files])
