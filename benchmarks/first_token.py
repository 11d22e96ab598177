"""Is the first token the cause of broken windows? Scores the same tokens without it, and after a start token.

    python benchmarks/first_token.py CELL [CELL ...]

Cells are those of the suite in params.yaml, and must have been scored. Prints a row per broken window: the perplexity
of its third to last token with the window unchanged, without its first token, and with the tokenizer's start token
before it.
"""

from __future__ import annotations

import argparse
import os
import sys

import numpy as np
import torch
from tabulate import tabulate
from torch import Tensor

from bench import runtime
from bench.analysis.broken_windows import is_broken
from bench.config.params import Params, load_params
from bench.inputs.models import ModelRecord
from bench.inputs.texts import Text, scored_windows
from bench.store.paths import QUANTIZED, artefact_folder, corpus_folder, score_folder, token_losses_file
from swq.checkpoint import Artefact
from swq.errors import UserError, one_of
from swq.models.adapter import DecoderModel
from swq.perplexity import token_losses
from swq.streaming import stream

HEADERS = ["cell", "text", "window", "as it is", "without its first token", "behind a start token"]


def tried(params: Params, key: str) -> list[list[str | float]]:
    """Return a row per broken window of a cell: perplexity of the same tokens after three different beginnings."""
    record = ModelRecord.load(params.cells[key].model)
    tokenizer = record.tokenizer()
    device = runtime.start(params.runtime)
    over = Artefact.load(artefact_folder(key) / QUANTIZED).over
    opened = DecoderModel.open(record.folder, getattr(torch, params.protocol.dtype), over)
    model, _ = stream(opened, device, runtime.free_memory(device))
    start = torch.tensor([tokenizer.bos_token_id])

    def perplexity(beginning: Tensor, rest: Tensor) -> float:
        losses = token_losses(model, torch.cat([beginning, rest]), device)[-(len(rest) - 1) :]
        return float(losses.double().mean().exp())

    rows: list[list[str | float]] = []
    for name, settings in params.protocol.perplexity.texts.items():
        windows = scored_windows(
            Text(corpus_folder(params.protocol.corpus), name, tokenizer), settings, params.protocol.perplexity.seq_len
        )
        scored, reference = (
            np.load(token_losses_file(score_folder(cell), name)) for cell in (key, params.reference(key) or key)
        )
        for place in np.flatnonzero(is_broken(scored, reference)):
            first, rest = windows[place].split([1, windows.shape[1] - 1])
            beginnings = (first, first[:0], torch.cat([start, first]))
            rows.append([key, name, int(place) + 1, *(perplexity(beginning, rest) for beginning in beginnings)])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", nargs="+", metavar="CELL", help="a key of the section `cells` in params.yaml")
    keys = parser.parse_args().cells
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        params = load_params()
        for key in keys:
            if key not in params.cells:
                raise UserError(one_of("cell", key, params.cells))
        found = [row for key in keys for row in tried(params, key)]
    except UserError as error:
        sys.exit(str(error))
    print(tabulate(found, HEADERS, floatfmt=",.1f"))


if __name__ == "__main__":
    main()
