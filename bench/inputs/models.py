"""A fetched model: where its weights are, and the hashes that identify it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from bench.imports import importing
from bench.store.checksums import check, seal
from bench.store.files import read_mapping, write_json
from bench.store.paths import MODEL, model_folder
from swq.errors import UserError
from swq.files import sha256_file
from swq.identity import fingerprint

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

HUB = "hub:"
CONFIG, INDEX = "config.json", "*.safetensors.index.json"
TOKENIZER = ("tokenizer*", "vocab*", "merges*", "special_tokens_map.json", "added_tokens.json")


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
        if not list(weights.glob("*.safetensors")):
            raise UserError(f"model {str(weights)!r} holds no *.safetensors")
        if not list(weights.glob("tokenizer*")) + list(weights.glob("vocab*")):
            raise UserError(f"model {str(weights)!r} holds no tokenizer files")
        return cls(str(weights), _digest(_weights(weights)), _digest(_tokenizer(weights)), origin)

    @classmethod
    def load(cls, key: str) -> ModelRecord:
        path = model_folder(key) / MODEL
        if not path.is_file():
            raise UserError(f"there is no {path}; run the stage that writes it")
        check(path.parent, [MODEL])
        found = read_mapping(path)
        if found.keys() != {field.name for field in fields(cls)} or not all(isinstance(v, str) for v in found.values()):
            raise UserError(f"{path} is damaged; remove {path.parent} and fetch the model again")
        return cls(**found)

    @property
    def folder(self) -> Path:
        """The transformers folder.

        Raises:
            UserError: the hub's cache no longer holds it, or the record is damaged.
        """
        if not self.weights.startswith(HUB):
            return Path(self.weights)
        from bench.prepare.hub import cached_hub_model

        try:
            repo, commit = self.weights.removeprefix(HUB).split("@")
            return cached_hub_model(repo, commit)
        except ValueError as error:  # the hub's own, too
            raise UserError(
                f"{self.weights!r} does not name a model of the hub: the model's record is damaged, so fetch it again"
            ) from error

    def check_weights(self, key: str) -> None:
        """Hash configuration and weights again, before anything is computed from them.

        Raises:
            UserError: they are not those that were fetched.
        """
        self._check(key, "config.json or the weights", _weights(self.folder), self.sha256)

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
        seal(folder, [MODEL])

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Read the tokenizer.

        Raises:
            UserError: it cannot be read.
        """
        with importing():
            from transformers import AutoTokenizer

        try:
            return AutoTokenizer.from_pretrained(self.folder, trust_remote_code=False)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"the tokenizer in {self.folder} cannot be read: {reason}") from error


def tokenize(tokenizer: PreTrainedTokenizerBase, passages: list[str]) -> list[int]:
    """Return the tokens of all passages as one text, joined by a blank line, with the tokenizer's own start token."""
    # Often longer than the model's context on purpose; the warning about that would mislead.
    return tokenizer("\n\n".join(passages), verbose=False)["input_ids"]


def _weights(folder: Path) -> list[Path]:
    """Return what decides a model: its configuration, its weights, and which file holds which of them."""
    return [folder / CONFIG, *sorted(folder.glob("*.safetensors")), *folder.glob(INDEX)]


def _tokenizer(folder: Path) -> list[Path]:
    """Return what decides a tokenizer. transformers also asks the model's configuration which class it is."""
    return [folder / CONFIG, *sorted(path for name in TOKENIZER for path in folder.glob(name))]


def _digest(files: list[Path]) -> str:
    return fingerprint([(file.name, sha256_file(file)) for file in files])
