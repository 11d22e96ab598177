"""The share of codes in which a cell differs from its base: counted, and carried into its raw file while it is true."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bench.analysis.collect import collect
from bench.config.params import Params
from bench.stages.compare import compare
from bench.stages.reconstruct import reconstruct
from bench.stages.score import score
from bench.store.files import read_json
from bench.store.paths import DIFFERENCE, QUANTIZED, artefact_folder
from bench.store.raw import raw_file, read_raw
from swq.checkpoint import Artefact
from swq.errors import UserError
from tests.support.prepared import prepared

KEY = "tiny-omniquant"


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Params]:
    """The tiny suite with a cell and its base."""
    folder = tmp_path_factory.mktemp("comparing")
    with pytest.MonkeyPatch.context() as patch:
        made = prepared(folder, patch)
        for key in (KEY, made.report.baselines[KEY]):
            reconstruct(made, key)
        score(made, KEY)
        yield made


def test_other_codes_are_counted(params: Params) -> None:
    said = compare(params, KEY)
    found = read_json(artefact_folder(KEY) / DIFFERENCE)
    base = params.report.baselines[KEY]
    codes = []
    for key in (KEY, base):
        artefact = Artefact.load(artefact_folder(key) / QUANTIZED)
        codes.append(torch.cat([artefact.weight(path).codes.flatten() for path in artefact.shapes]))
    different = int((codes[0] != codes[1]).sum())
    assert (found["base"], found["n_weights"], found["different_codes"]) == (base, len(codes[0]), different)
    assert 0 < different < len(codes[0]) and f"{different / len(codes[0]):.1%}" in said


def test_the_raw_file_holds_them(params: Params) -> None:
    compare(params, KEY)
    collect(params)
    difference = read_raw(raw_file(params.suite, KEY)).difference
    assert difference is not None and difference.base == params.report.baselines[KEY] and 0 < difference.share < 1


def test_what_was_counted_of_other_artefacts_is_not_used(params: Params, tmp_path: Path) -> None:
    """The base was made again since."""
    compare(params, KEY)
    base = artefact_folder(params.report.baselines[KEY])
    shutil.copytree(base, tmp_path / "kept")
    sums = (base / "SHA256SUMS").read_text().splitlines()
    (base / "SHA256SUMS").write_text("".join(f"{'0' * 64}  {line[66:]}\n" for line in sums))
    collect(params)
    assert read_raw(raw_file(params.suite, KEY)).difference is None
    shutil.rmtree(base)
    shutil.copytree(tmp_path / "kept", base)
    collect(params)
    assert read_raw(raw_file(params.suite, KEY)).difference is not None


def test_a_cell_without_a_base_is_refused(params: Params) -> None:
    with pytest.raises(UserError, match="cell tiny-fp has no base"):
        compare(params, "tiny-fp")
