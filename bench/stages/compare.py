"""compare: in how many codes a cell's artefact differs from its base's."""

from __future__ import annotations

import torch

from bench.config.params import Params
from bench.store.checksums import check
from bench.store.files import write_json
from bench.store.paths import DIFFERENCE, QUANTIZED, artefact_folder
from swq.checkpoint import Artefact
from swq.errors import UserError


def compare(params: Params, key: str) -> str:
    """Make artefacts/KEY/difference.json: the weights, and those that have another code than the base's.

    Two trainings drift apart by chance. How far is told by a placebo's share of other codes, and SW's stands beside it.

    Raises:
        UserError: the cell has no base, or an artefact is missing or damaged.
    """
    base = params.report.baselines.get(key)
    if base is None:
        raise UserError(f"cell {key} has no base in report.baselines to be compared with")
    hashes = {cell: check(artefact_folder(cell), [QUANTIZED])[QUANTIZED] for cell in (key, base)}
    ours, theirs = (Artefact.load(artefact_folder(cell) / QUANTIZED) for cell in (key, base))
    different = sum(_different(ours, theirs, path) for path in ours.shapes)
    n_weights = sum(out * in_features for out, in_features in ours.shapes.values())
    found = {"base": base, "artefacts": hashes, "n_weights": n_weights, "different_codes": different}
    write_json(artefact_folder(key) / DIFFERENCE, found)
    return f"cell {key}: {different / n_weights:.1%} of the codes are not those of {base}"


def _different(ours: Artefact, theirs: Artefact, path: str) -> int:
    return int(torch.count_nonzero(ours.weight(path).codes != theirs.weight(path).codes))
