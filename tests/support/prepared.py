"""The tiny suite up to its calibration tokens, made by its stages in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.config.params import Params, load_params
from bench.stages.calibrate import calibrate
from bench.stages.fetch import fetch_corpus, fetch_model
from tests.support import tiny_suite
from tests.support.project import in_folder_with_code


def prepared(folder: Path, patch: pytest.MonkeyPatch, values: dict[str, Any] | None = None) -> Params:
    """Go to a folder with the tiny suite, of `values` or as it is, whose cells are ready to be reconstructed."""
    in_folder_with_code(folder, patch)
    tiny_suite.write_inputs(folder)
    tiny_suite.write_params(folder, values or tiny_suite.params())
    made = load_params()
    fetch_model(made, "tiny")
    fetch_corpus(made, "words")
    calibrate(made, "tiny-4x32")
    return made
