"""The rows of a slice, and what each endpoint can be expected to say of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.config.cell import Cell
from bench.config.labels import labels, row_name
from bench.config.params import Params
from bench.config.sources import HubModel
from bench.config.tasks import scored_tasks
from bench.power.design import Design
from bench.power.gaps import Gap, accuracy_gap, perplexity_gap
from bench.power.hours import hours_of
from bench.power.measured import Measured, nearest
from bench.preflight.at_hand import shapes_at_hand
from bench.preflight.cost import TEXT_TOKENS
from bench.preflight.shapes import Shapes
from bench.published.figures import Registry
from swq.errors import UserError

ACCURACY, LOG_PERPLEXITY = "accuracy", "log-perplexity"


@dataclass(frozen=True)
class Endpoint:
    """One measure of one row.

    Attributes:
        name: of the measure.
        gap: what the base loses; None if nothing is published of it.
        design: what its interval will be made of; None if that cannot be known.
    """

    name: str
    gap: Gap | None
    design: Design | None


@dataclass(frozen=True)
class PowerRow:
    """A row of the suite whose base is the same method without SW.

    Attributes:
        name: its key in `metrics.json`.
        cell: the first of its cells.
        repo: the model's name on the hub; None if it is from elsewhere.
        label: its name for people.
        n_seeds: that the suite has.
        hours: of one seed, base and treated cell; None if the model's shapes are not at hand.
        source: the measured row whose variances stand for its own.
        own: whether that is the same model, method and scheme.
        endpoints: what it is measured by.
    """

    name: str
    cell: Cell
    repo: str | None
    label: str
    n_seeds: int
    hours: float | None
    source: Measured
    own: bool
    endpoints: tuple[Endpoint, ...]

    @property
    def borrowed(self) -> str:
        """Where its variances are from, for people."""
        return self.source.called if self.own else f"borrowed from {self.source.called}"


def power_rows(params: Params, keys: Sequence[str], known: list[Measured], registry: Registry) -> list[PowerRow]:
    """Return the rows of a slice that are compared with the same method, trained otherwise.

    Raises:
        UserError: the slice has no such row.
    """
    called, found, shapes = labels(params), [], {}
    for group in params.seed_groups():
        base = params.report.baselines.get(group[0])
        cell = params.cells[group[0]]
        if group[0] not in keys or base is None or params.cells[base].method_name != cell.method_name:
            continue
        if cell.model not in shapes:
            shapes[cell.model] = shapes_at_hand(params, cell.model)
        found.append(_row(params, group, base, called[group[0]], known, registry, shapes[cell.model]))
    if not found:
        raise UserError("no row of this slice is compared with its own method without SW, so there is no share to plan")
    return found


def _row(
    params: Params,
    group: tuple[str, ...],
    base: str,
    label: str,
    known: list[Measured],
    registry: Registry,
    shapes: Shapes | None,
) -> PowerRow:
    cell, scheme = params.cells[group[0]], params.cells[group[0]].scheme
    assert scheme is not None, "what has a base is quantized"
    model = params.models.get(cell.model)
    repo = model.repo if isinstance(model, HubModel) else None
    twins = [row for row in known if row.model == f"{row.suite}-{cell.model}"]
    twins = [row for row in twins if (row.method, row.scheme) == (cell.method_name, scheme)]
    named = [row for row in twins if row.name == row_name(params, group)]
    twins = named or [row for row in twins if row.suite == params.suite] or twins
    source = nearest(twins or known, cell.method_name, scheme)
    return PowerRow(
        name=row_name(params, group),
        cell=cell,
        repo=repo,
        label=label,
        n_seeds=len(group),
        hours=hours_of(params, (base, group[0]), shapes),
        source=source,
        own=bool(twins),
        endpoints=tuple(_endpoints(params, cell, repo, source, bool(twins), registry, shapes)),
    )


def _endpoints(
    params: Params,
    cell: Cell,
    repo: str | None,
    source: Measured,
    own: bool,
    registry: Registry,
    shapes: Shapes | None,
) -> list[Endpoint]:
    tasks, texts = params.protocol.tasks, list(params.protocol.perplexity.texts)
    where = (repo or "", cell.method_name, str(cell.scheme))
    lost = accuracy_gap(registry, *where, tasks)
    nats = perplexity_gap(registry, *where, texts)
    if own:
        lost = lost or Gap(source.lost, f"results/{source.suite}")
        nats = nats or Gap(source.lost_nats, f"results/{source.suite}")
    of_answers = Design(lost.lost, source.accuracy, _documents(params)) if lost and lost.lost > 0 else None
    of_text = Design(1.0, source.log_perplexity, _windows(params, shapes))  # its components are fractions of the loss
    return [
        Endpoint(LOG_PERPLEXITY, nats, of_text),
        Endpoint(ACCURACY, lost, of_answers),
    ]


def _documents(params: Params) -> tuple[int, ...]:
    """Return how many documents of each task are scored."""
    limit = params.protocol.limit
    whole = (scored_tasks()[task].n_documents for task in params.protocol.tasks)
    return tuple(min(n_documents, limit or n_documents) for n_documents in whole)


def _windows(params: Params, shapes: Shapes | None) -> tuple[int, ...]:
    """Return how many windows of each text are scored; a whole text is as long as `estimate` takes it to be."""
    whole = TEXT_TOKENS[shapes is not None and shapes.vocabulary > 50_000] // params.protocol.perplexity.seq_len
    return tuple(text.n_windows or whole for text in params.protocol.perplexity.texts.values())
