"""SW's share of the training, row by row."""

from __future__ import annotations

from statistics import median

from bench.analysis.rows import Measured
from bench.analysis.sw_share import by_block, has_shares, of_gradient, of_loss
from bench.render.table import Table
from bench.report.sections import TRAINING, TableView
from bench.report.tables.columns import Naming

SMALLEST = 1e-6  # a share below it is shown as an upper bound

EXPLAINED = (
    "SW's share of the loss and of the gradient norms in the last epoch, in %: in the first block, in the median block,"
    " and in the block with the least. Several seeds are averaged. Where the share is far below 1 %, SW hardly changes"
    " what is minimised, whatever its weight is. A difference may then be no more than the distance between two"
    " trainings that drift apart by chance. MSE averages over channels, L2 sums over them, and both square the"
    " differences, while SW does not."
)


def sw_share_table(measured: Measured) -> Table:
    """A line for each row whose loss has SW and another term."""
    naming = Naming(measured.params, None)
    body = []
    for row in filter(has_shares, measured.rows):
        shares = (by_block(row, of)[1] for of in (of_loss, of_gradient))
        body.append([*naming.of(row), *(_percent(x) for s in shares for x in (s[0], median(s), min(s)))])
    headers = [*naming.headers, "loss, first", "median", "least", "gradient, first", "median", "least"]
    return Table(body, headers, left=len(naming.headers))


def _percent(share: float) -> str:
    return f"{100 * share:.2g}" if share >= SMALLEST else f"< {100 * SMALLEST:.4f}"


VIEW = TableView(TRAINING, sw_share_table, lambda _: EXPLAINED, title="How much of SW there was")
