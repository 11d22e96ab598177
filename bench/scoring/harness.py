"""lm-eval on local data: its own task definitions, and every item's log-likelihoods instead of means alone."""

from __future__ import annotations

import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from bench.config.protocol import Protocol
from bench.config.tasks import TASKS
from bench.store.items import Item
from bench.store.paths import task_file
from swq.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def score_tasks(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, protocol: Protocol, corpus: Path
) -> tuple[list[Item], dict[str, Any]]:
    """Score a model on the protocol's tasks, 0-shot.

    Returns:
        the items, task by task in the split's order, and the version of each task.

    Raises:
        UserError: a task has no data or another version, or a document has no valid answer: lm-eval would count it as
            wrong.
    """
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    language_model = HFLM(
        pretrained=model,
        tokenizer=tokenizer,
        batch_size=protocol.batch_size,
        add_bos_token=protocol.add_bos_token,
        softmax_dtype="float32",  # sums of half-precision logarithms would be off by as much as methods differ
    )
    with TemporaryDirectory() as temporary:
        for name in protocol.tasks:
            _write_definition(Path(temporary), name, corpus)
        manager = TaskManager(include_path=temporary, include_defaults=False)
        tasks = manager.load(list(protocol.tasks))["tasks"]
        _check_versions(tasks, protocol.task_versions)
        golds = {name: _golds(name, task, protocol.limit) for name, task in tasks.items()}
        results = simple_evaluate(
            model=language_model,
            tasks=list(tasks.values()),
            num_fewshot=0,
            limit=protocol.limit,
            bootstrap_iters=0,
            log_samples=True,
            task_manager=manager,
        )
    items = [
        _item(name, sample, golds[name])
        for name in protocol.tasks
        for sample in sorted(results["samples"][name], key=lambda sample: sample["doc_id"])
    ]
    return items, {name: results["versions"][name] for name in protocol.tasks}


def _write_definition(folder: Path, name: str, corpus: Path) -> None:
    """Write lm-eval's own task, with only the place of its documents changed."""
    import lm_eval.tasks

    data = task_file(corpus, name).absolute()
    if not data.is_file():
        raise UserError(f"task {name}: the corpus holds no {data.name}; add it to the corpus or drop the task")
    task = TASKS[name]
    definition = {
        "include": str(Path(lm_eval.tasks.__file__).parent / task.definition),
        "dataset_path": "arrow",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {task.split: str(data)}, "cache_dir": str(folder / "cache")},
        "training_split": None,
        "validation_split": task.split if task.split == "validation" else None,
        "test_split": task.split if task.split == "test" else None,
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
