"""Published figures: the file is sound, averages are recomputed from tasks, and mistakes end in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.published.contradictions import contradictions, contradictions_page
from bench.published.figures import PUBLISHED, Figure, Registry, load_published
from swq.errors import UserError
from swq.quant.scheme import Scheme
from tests.support.repository import ROOT

FILE = ROOT / PUBLISHED
LLAMA_7B, LLAMA_13B = "meta-llama/Llama-2-7b-hf", "meta-llama/Llama-2-13b-hf"
FIVE = ("winogrande", "hellaswag", "arc_challenge", "arc_easy", "piqa")

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def published() -> Registry:
    return load_published(FILE)


def of_source(figures: list[Figure], source: str) -> Figure:
    (figure,) = [figure for figure in figures if figure.source == source]
    return figure


def minimal() -> dict[str, Any]:
    figure = {"model": "m", "method": "rtn", "scheme": "w2a16g64", "perplexity": {"c4": 9.5}, "source": "A"}
    return {"sources": {"A": "a paper"}, "figures": [figure]}


def write(folder: Path, edit: Edit) -> Path:
    values = minimal()
    edit(values)
    path = folder / "published.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def first(values: dict[str, Any]) -> dict[str, Any]:
    return values["figures"][0]


def test_every_source_is_used(published: Registry) -> None:
    assert {figure.source for figure in published.figures} == set(published.sources)


def test_every_number_of_the_file_is_a_number_to_yaml() -> None:
    """`4.2e3` would be text, which pydantic reads in silence."""
    for figure in yaml.safe_load(FILE.read_text(encoding="utf-8"))["figures"]:
        for value in [*figure.get("perplexity", {}).values(), *figure.get("tasks", {}).values()]:
            assert isinstance(value, float), figure


@pytest.mark.parametrize(
    ("model", "method", "scheme", "printed"),
    [
        (LLAMA_7B, "fp", None, 64.80),
        (LLAMA_7B, "rtn", "w4a16", 63.27),
        (LLAMA_7B, "awq", "w3a16g128", 62.82),
        (LLAMA_7B, "omniquant", "w2a16g128", 46.98),
        (LLAMA_13B, "fp", None, 67.80),
        (LLAMA_13B, "gptq", "w2a16g128", 49.47),
        (LLAMA_13B, "omniquant", "w2a16g128", 53.56),
    ],
)
def test_recomputed_means(published: Registry, model: str, method: str, scheme: str | None, printed: float) -> None:
    mean = of_source(published.find(model, method, scheme), "AR").mean_accuracy(FIVE)
    assert mean == pytest.approx(printed, abs=0.01)


def test_a_mean_needs_every_task(published: Registry) -> None:
    figure = of_source(published.find(LLAMA_7B, "omniquant", "w2a16"), "GLVQ")
    assert figure.mean_accuracy(FIVE) is None
    assert figure.mean_accuracy(()) is None
    assert figure.mean_accuracy(("winogrande", "piqa")) == pytest.approx((51.5 + 57.5) / 2)


def test_full_precision_is_found_without_a_scheme(published: Registry) -> None:
    assert of_source(published.find(LLAMA_7B, "fp", None), "OQ1").perplexity == {"wikitext2": 5.47}
    opt = published.find("facebook/opt-6.7b", "fp", None)
    assert of_source(opt, "OQA").perplexity == {"wikitext2": 10.86, "c4": 11.74}
    assert "hellaswag" not in of_source(opt, "LMH").tasks


def test_a_cells_scheme_finds_both_of_two_that_disagree(published: Registry) -> None:
    figures = published.find(LLAMA_7B, "awq", str(Scheme(2, 128)))
    assert of_source(figures, "OQ1").perplexity == {"wikitext2": 2.2e5}
    assert of_source(figures, "TQA").perplexity == {"wikitext2": 14.65}


def test_what_is_not_published_is_not_found(published: Registry) -> None:
    assert published.find(LLAMA_7B, "tesseraq", "w4a16g128") == []
    assert published.find("no-such-model", "fp", None) == []


def test_a_minimal_file_is_valid(tmp_path: Path) -> None:
    (figure,) = load_published(write(tmp_path, lambda values: None)).find("m", "rtn", "w2a16g64")
    assert figure.measures == {"perplexity.c4"} and figure.note is None


@pytest.mark.parametrize(
    ("edit", "parts"),
    [
        (lambda v: first(v).update(source="B"), ("figures.0", "unknown source 'B'", "allowed: A")),
        (lambda v: first(v).update(schema="w2a16"), ("figures.0", "unknown key 'schema'", "did you mean 'scheme'?")),
        (lambda v: v.update(figure=[]), ("unknown key 'figure'", "did you mean 'figures'?")),
        (lambda v: first(v).update(scheme="w2g64"), ("figures.0.scheme", "w<bits>a16g<group>")),
        (lambda v: first(v).update(scheme=None), ("figures.0", "needs a scheme")),
        (lambda v: first(v).update(method="fp"), ("figures.0", "full precision")),
        (lambda v: first(v).update(perplexity={}), ("figures.0", "must hold a number")),
        (lambda v: first(v).update(perplexity={"c5": 9.5}), ("figures.0", "unknown text 'c5'")),
        (lambda v: first(v).update(perplexity={"c4": float("nan")}), ("figures.0.perplexity.c4", "nan")),
        (lambda v: first(v).update(tasks={"arc": 50.0}), ("figures.0", "unknown task 'arc'")),
        (lambda v: first(v).update(tasks={"piqa": 101.0}), ("figures.0.tasks.piqa", "101.0")),
        (
            lambda v: v["figures"].append({**first(v), "perplexity": {"wikitext2": 5.0, "c4": 9.6}}),
            ("figures.1: perplexity.c4 of m rtn w2a16g64 A is already in figures.0",),
        ),
    ],
)
def test_mistakes_end_in_one_line(tmp_path: Path, edit: Edit, parts: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as caught:
        load_published(write(tmp_path, edit))
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "part"), [("figures: [", "is not valid YAML"), ("[]", "must hold a mapping"), (None, "there is no")]
)
def test_a_file_that_cannot_be_read(tmp_path: Path, text: str | None, part: str) -> None:
    path = tmp_path / "published.yaml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=part):
        load_published(path)


def test_another_source_or_another_text_is_no_duplicate(tmp_path: Path) -> None:
    def edit(values: dict[str, Any]) -> None:
        values["sources"]["B"] = "another paper"
        values["figures"] += [{**first(values), "source": "B"}, {**first(values), "perplexity": {"wikitext2": 5.0}}]

    assert len(load_published(write(tmp_path, edit)).find("m", "rtn", "w2a16g64")) == 3


LLAMA_70B = "meta-llama/Llama-2-70b-hf"


@pytest.mark.parametrize(
    ("row", "measure", "values", "copied"),
    [
        ((LLAMA_7B, "autoround", "w2a16g128"), "tasks.hellaswag", {"AR": 47.35, "EQP": 40.28}, "omniquant's"),
        ((LLAMA_7B, "autoround", "w2a16g128"), "mean_acc", {"AR, recomputed": 55.91, "EQP": 54.50}, None),
        ((LLAMA_13B, "gptq", "w2a16g128"), "tasks.arc_challenge", {"AR": 27.82, "EQP": 21.93}, "rtn's"),
        ((LLAMA_13B, "gptq", "w2a16g128"), "mean_acc", {"AR, recomputed": 49.47, "EQP": 48.29}, None),
        ((LLAMA_70B, "omniquant", "w2a16g128"), "tasks.hellaswag", {"AR": 52.44, "EQP": 35.45}, "hqq's"),
        ((LLAMA_70B, "omniquant", "w2a16g128"), "perplexity.wikitext2", {"OQ1": 6.55, "EQ3": 6.11}, "w2a16g64"),
        ((LLAMA_13B, "efficientqat", "w2a16g64"), "mean_acc", {"EQR": 64.88, "EQ1": 64.48}, None),
        ((LLAMA_13B, "efficientqat", "w2a16g64"), "mean_acc", {"EQ1": 64.48, "EQP": 63.48}, None),
        ((LLAMA_7B, "efficientqat", "w2a16g128"), "perplexity.wikitext2", {"EQR": 7.17, "EQ3": 7.19}, None),
        ((LLAMA_7B, "gptq", "w2a16g64"), "perplexity.wikitext2", {"OQ1": 20.85, "LLMC": 14.968}, None),
        ((LLAMA_7B, "awq", "w2a16g128"), "perplexity.wikitext2", {"OQ1": 2.2e5, "TQA": 14.65}, None),
    ],
)
def test_known_errors_are_found(
    published: Registry, row: tuple[str, str, str], measure: str, values: dict[str, float], copied: str | None
) -> None:
    """Errors and contradictions that were found by hand in what is published."""
    found = [
        c for c in contradictions(published) if c.row == row and c.measure == measure and set(c.values) == set(values)
    ]
    assert len(found) == 1 and found[0].values == pytest.approx(values, abs=0.006)
    assert (found[0].copied is None) == (copied is None) and (copied or "") in (found[0].copied or "")


def test_only_real_copies_are_called_copies(published: Registry) -> None:
    assert sum(c.copied is not None for c in contradictions(published)) == 4
    assert "by copying" in contradictions_page(published)


def test_rounding_is_no_contradiction(tmp_path: Path) -> None:
    def edit(values: dict[str, Any]) -> None:
        values["sources"]["B"] = "another paper"
        values["figures"] += [{**first(values), "perplexity": {"c4": 9.48}, "source": "B"}]

    assert not contradictions(load_published(write(tmp_path, edit)))


def test_printed_mean_is_held_against_its_own_tasks(tmp_path: Path) -> None:
    def edit(values: dict[str, Any]) -> None:
        first(values).update(tasks=dict.fromkeys(FIVE, 50.0), mean_acc=50.2)

    (found,) = contradictions(load_published(write(tmp_path, edit)))
    assert found.values == {"A": 50.2, "A, recomputed": 50.0}


def test_zero_beside_another_number_is_a_contradiction_like_any(tmp_path: Path) -> None:
    def edit(values: dict[str, Any]) -> None:
        values["sources"]["B"] = "another paper"
        first(values).update(tasks={"piqa": 0.0})
        values["figures"] += [{**first(values), "tasks": {"piqa": 50.0}, "source": "B"}]

    assert "50.00 (B)" in contradictions_page(load_published(write(tmp_path, edit)))
