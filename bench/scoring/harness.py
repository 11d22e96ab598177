"""lm-eval on local data: its own task definitions, and every item's log-likelihoods instead of means alone."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from torch import Tensor

from bench.config.protocol import Protocol
from bench.config.tasks import scored_tasks
from bench.store.items import Item, item_of
from bench.store.paths import task_file
from bench.store.resume import State
from swq.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from bench.scoring.one_pass import OnePass

OpenModel = Callable[[], "PreTrainedModel"]


@dataclass
class Scores:
    """What a model scored.

    Attributes:
        items: task by task, in the split's order.
        versions: of each task, lm-eval's.
        unpacked: why a task's choices were scored one by one; a task whose choices were packed is not in it.
    """

    items: list[Item] = field(default_factory=list)
    versions: dict[str, Any] = field(default_factory=dict)
    unpacked: dict[str, str] = field(default_factory=dict)


def score_tasks(
    open_model: OpenModel,
    tokenizer: PreTrainedTokenizerBase,
    protocol: Protocol,
    corpus: Path,
    state: State,
    on_task: Callable[[], object] = lambda: None,
) -> Scores:
    """Score a model on the protocol's tasks, 0-shot, one task after another.

    No batch holds documents of two tasks, so that a task's numbers do not depend on whether another one was scored in
    the same run.

    Args:
        open_model: returns the model; called only if some task is not in `state`.
        tokenizer: its tokenizer.
        protocol: which tasks, and how.
        corpus: the folder that holds their documents.
        state: keeps finished tasks.
        on_task: called after every task.

    Raises:
        UserError: a task has no data or another version, or a document has no valid answer: lm-eval would count it as
            wrong.
    """
    scores = Scores()
    with TemporaryDirectory() as temporary:
        tasks = cache(lambda: _load_tasks(Path(temporary), protocol, corpus))
        language_model = cache(lambda: _language_model(open_model(), tokenizer, protocol))
        for name in protocol.tasks:
            _, facts = state.piece(f"task_{name}", partial(_score_task, name, tasks, language_model, protocol.limit))
            scores.items += map(item_of, facts["items"])
            scores.versions[name] = facts["version"]
            if facts["unpacked_because"]:
                scores.unpacked[name] = facts["unpacked_because"]
            on_task()
    return scores


def _language_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, protocol: Protocol) -> OnePass:
    from bench.scoring.one_pass import OnePass  # here, because it imports lm-eval: two seconds

    return OnePass(model, tokenizer, protocol.batch_tokens, protocol.add_bos_token)


@dataclass(frozen=True)
class _Task:
    """A task as lm-eval loads it, and the index of the right choice of each document that will be scored."""

    loaded: dict[str, Any]
    golds: dict[int, int]


def _load_tasks(folder: Path, protocol: Protocol, corpus: Path) -> dict[str, _Task]:
    """Load and check all tasks, before the first one is scored."""
    from lm_eval.tasks import TaskManager

    for name in protocol.tasks:
        _write_definition(folder, name, corpus)
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    loaded = {name: manager.load([name]) for name in protocol.tasks}
    _check_versions({name: found["tasks"][name] for name, found in loaded.items()}, protocol.task_versions)
    return {name: _Task(found, _golds(name, found["tasks"][name], protocol.limit)) for name, found in loaded.items()}


def _score_task(
    name: str, tasks: Callable[[], dict[str, _Task]], language_model: Callable[[], OnePass], limit: int | None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the items of one task as JSON would hold them, its version, and why its choices were not packed."""
    from lm_eval.evaluator import evaluate

    task, model = tasks()[name], language_model()
    results: Any = evaluate(model, task.loaded, limit=limit, bootstrap_iters=0, log_samples=True)
    samples = sorted(results["samples"][name], key=lambda sample: sample["doc_id"])
    items = [asdict(_item(name, sample, task.golds)) for sample in samples]
    return {}, {"items": items, "version": results["versions"][name], "unpacked_because": model.unpacked_because}


def _write_definition(folder: Path, name: str, corpus: Path) -> None:
    """Write lm-eval's own task, with only the place of its documents changed."""
    import lm_eval.tasks

    data = task_file(corpus, name).absolute()
    if not data.is_file():
        raise UserError(f"task {name}: the corpus holds no {data.name}; add it to the corpus or drop the task")
    task = scored_tasks()[name]
    definition = {
        "include": str(Path(lm_eval.tasks.__file__).parent / task.definition),
        "dataset_path": "arrow",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {task.split: str(data)}, "cache_dir": str(folder / "cache")},
        "training_split": None,
        "validation_split": task.split if task.split == "validation" else None,
        "test_split": task.split if task.split == "test" else None,
        "num_fewshot": 0,
    }
    (folder / f"{name}.yaml").write_text(json.dumps(definition), encoding="utf-8")  # JSON is YAML


def _check_versions(tasks: dict[str, Any], pinned: dict[str, float] | None) -> None:
    for name, version in (pinned or {}).items():
        if float(tasks[name].VERSION) != version:
            raise UserError(
                f"protocol.task_versions.{name}: lm-eval's task has version {tasks[name].VERSION}, the protocol asks"
                f" for {version}; install the lm-eval that constraints.txt names (scores of two versions differ)"
            )


def _golds(name: str, task: Any, limit: int | None) -> dict[int, int]:
    """Return the index of the right choice of each document that will be scored.

    Raises:
        UserError: a document has no valid answer.
    """
    golds = {}
    documents = list(task.eval_docs)
    for doc_id, document in enumerate(documents[:limit]):
        # WinoGrande varies the context instead of the ending; there the "text" is the answer's index.
        text, target = task.doc_to_text(document), task.doc_to_target(document)
        gold = text if isinstance(text, int) else target
        n_choices = len(task.doc_to_choice(document))
        if isinstance(gold, str) and gold in (choices := task.doc_to_choice(document)):
            gold = choices.index(gold)
        if not isinstance(gold, int) or isinstance(gold, bool) or not 0 <= gold < n_choices:
            raise UserError(
                f"task {name}: document {doc_id} has no valid answer (got {gold!r} for {n_choices} choices; its fields:"
                f" {', '.join(document)}); its score would mean nothing"
            )
        golds[doc_id] = gold
    return golds


def _item(name: str, sample: dict[str, Any], golds: dict[int, int]) -> Item:
    values = [float(value) for value, _ in sample["filtered_resps"]]
    likelihoods = tuple(value if math.isfinite(value) else None for value in values)
    item = Item(name, sample["doc_id"], sample["doc_hash"], golds[sample["doc_id"]], likelihoods)
    if not item.diverged and float(sample["acc"]) != float(item.correct):
        raise UserError(
            f"task {name}: document {item.doc_id}: lm-eval scores {sample['acc']}, but its log-likelihoods disagree"
        )
    return item
