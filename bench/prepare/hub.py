"""Models and data from the Hugging Face hub, at pinned commits. Every failure gives a one-line message.

Files are requested by name and read locally. `datasets.load_dataset` would not need the names, but it ignores the
revision when the hub is out of reach, and then returns whatever was cached last.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.config.sources import HubDataset, HubModel, HubRepository
from bench.prepare.packages import DOWNLOADS
from swq.errors import UserError
from swq.models.folder import INDEX

if TYPE_CHECKING:
    from datasets import Dataset

Kind = Literal["model", "dataset"]
CONFIG = "config.json"
REQUIRED = (CONFIG, "tokenizer_config.json")  # without the latter some tokenizers forget their start token
FILES: dict[str, Any] = {  # of a model's repository; no other weights than safetensors
    "allow_patterns": ["*.json", "*.safetensors", "tokenizer*", "vocab*", "merges*"],
    "ignore_patterns": ["*/*"],
}


def fetch_hub_model(model: HubModel) -> Path:
    """Return the folder, in the hub's cache, with a model's configuration, safetensors and tokenizer.

    Raises:
        UserError: one line on what is wrong and what to do: no access, no such model or revision, no network, no disk.
    """
    from huggingface_hub import snapshot_download

    with _explaining(model, "model"):
        folder = Path(snapshot_download(model.repo, revision=model.revision, **FILES))
    _check_commit(model, folder.name)
    weights = _named_in(folder / INDEX)
    if missing := sorted(file for file in {*REQUIRED, *weights} if not (folder / file).is_file()):
        raise UserError(f"model {model.repo}: {missing[0]} is not in {folder}; delete that folder and fetch it online")
    if not list(folder.glob("*.safetensors")):
        raise UserError(
            f"model {model.repo} has no safetensors at {model.revision}, and nothing else is loaded; a pull request may"
            f" have them (https://huggingface.co/{model.repo}/discussions): use revision: refs/pr/N"
        )
    return folder


def _named_in(index: Path) -> set[str]:
    """Return the files that an index of weights names; none if there is no index.

    Raises:
        UserError: it is damaged.
    """
    try:
        return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()) if index.is_file() else set()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{index} is damaged ({error}); delete {index.parent} and fetch the model again") from error


def cached_hub_model(repo: str, commit: str) -> Path:
    """Return the folder of a model that was fetched before.

    Raises:
        UserError: it is no longer in the hub's cache.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repo, revision=commit, local_files_only=True, **FILES))
    except LocalEntryNotFoundError as error:
        raise UserError(
            f"model {repo} at {commit[:12]} is no longer in the cache {constants.HF_HUB_CACHE}; `dvc repro -f"
            " fetch-model@KEY` fetches it again, and HF_HOME says where the cache is"
        ) from error


def fetch_hub_config(model: HubModel) -> Path:
    """Return a folder with a model's config.json, for callers that only need shapes.

    It is kept outside the hub's cache, where a folder with nothing else in it would be taken for the model.

    Raises:
        UserError: as `fetch_hub_model`.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    cached = try_to_load_from_cache(model.repo, CONFIG, revision=model.revision)
    if isinstance(cached, str):
        return Path(cached).parent
    folder = DOWNLOADS / "configs" / model.repo / (model.commit or model.revision)
    if not (folder / CONFIG).is_file():
        with _explaining(model, "model"):
            hf_hub_download(model.repo, CONFIG, revision=model.revision, local_dir=folder)
    return folder


def fetch_hub_records(dataset: HubDataset, cache: Path, *, text: bool) -> Dataset:
    """Return the records of a dataset's file, or its field `text` alone; `cache` as of `read_records`.

    Raises:
        UserError: as `fetch_hub_model` and `read_records`.
    """
    from bench.prepare.readers import read_records

    path = _download(dataset, "dataset", dataset.file)
    return read_records(path, cache, text=text, called=f"dataset {dataset.repo}: {dataset.file}")


def _download(repository: HubRepository, kind: Kind, file: str) -> Path:
    from huggingface_hub import hf_hub_download

    with _explaining(repository, kind):
        path = Path(hf_hub_download(repository.repo, file, repo_type=kind, revision=repository.revision))
    _check_commit(repository, path.parents[len(Path(file).parts) - 1].name)
    return path


def _check_commit(repository: HubRepository, found: str) -> None:
    if repository.commit is not None and not found.startswith(repository.commit):
        raise UserError(
            f"{repository.repo}: {repository.revision} is now at commit {found[:12]}, no longer at {repository.commit};"
            " look at what changed, then pin the commit that you want"
        )


@contextmanager
def _explaining(repository: HubRepository, kind: Kind) -> Iterator[None]:
    """Turn what the hub's client raises into one line that says what to do."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repo = f"{kind} {repository.repo}"
    page = f"https://huggingface.co/{'datasets/' if kind == 'dataset' else ''}{repository.repo}"
    try:
        yield
    except GatedRepoError as error:
        who = "you are not logged in" if error.response.status_code == 401 else "this token has no access"
        raise UserError(f"{repo} is gated, and {who}: ask for access at {page}, then `hf auth login`") from error
    except RepositoryNotFoundError as error:
        raise UserError(f"{repo} is not on the hub, or it is private and this token has no access: {page}") from error
    except RevisionNotFoundError as error:
        raise UserError(f"{repo} has no revision {repository.revision}: see {page}/commits/main") from error
    except LocalEntryNotFoundError as error:  # is an EntryNotFoundError too
        cause = error.__cause__
        if isinstance(cause, OfflineModeIsEnabled):
            what = "and HF_HUB_OFFLINE forbids fetching it; unset that and run once with a network"
        else:
            reason = " ".join(str(cause or error).split())
            what = f"and {constants.ENDPOINT} cannot be reached ({reason}); check the network, or set HF_ENDPOINT"
        raise UserError(f"{repo} is not in the cache {constants.HF_HUB_CACHE}, {what}") from error
    except EntryNotFoundError as error:
        raise UserError(f"{repo}: {' '.join(str(error).split())}") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        advice = "the token is not valid: `hf auth login` again" if status == 401 else "try again later"
        raise UserError(f"{repo}: the hub answers {status}; {advice}") from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise UserError(
                f"{repo}: no space left on the disk under {constants.HF_HUB_CACHE}; free some space, or set HF_HOME to"
                " another disk; files that are complete are kept"
            ) from error
        raise UserError(f"{repo} cannot be fetched: {' '.join(str(error).split())}") from error
    except Exception as error:
        if type(error).__module__.split(".")[0] not in ("httpx", "httpx2", "httpcore"):
            raise
        raise UserError(
            f"{repo}: the connection broke off ({error}); run again, files that are complete are kept"
        ) from error
