"""Damaged files of every kind that stages read: each is refused in one line, made again, or decides nothing.

A tiny project is made once. Every example damages one of its files, and the stages that read it run on that. What they
then say must be the same bytes as before. By default about a hundred files, the same each time. SWQ_FUZZ_EXAMPLES=2000
makes so many in all, and others.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.config.params import load_params
from bench.inputs.models import ModelRecord
from bench.prepare.packages import extract, fetch_wheel
from bench.published.verify import verify
from bench.runs.show import show
from bench.runs.state import RunState
from bench.runs.time_left import made_before
from bench.stages import report as report_stage
from bench.stages.calibrate import calibrate
from bench.stages.fetch import fetch_corpus
from bench.stages.reconstruct import reconstruct
from bench.stages.report import report
from bench.stages.score import score
from bench.store.failures import failures
from bench.store.paths import RESUME
from bench.store.peak import keep_peak
from bench.store.progress import read_progress
from bench.store.sweep import sweep
from swq.errors import UserError
from swq.files import sha256_file
from swq.tensor_file import read_tensors
from tests.fuzz.long_form import fuzz
from tests.fuzz.tiny_project import CALIBRATION, CELL, SWEPT, WHEEL, Tiny, run

pytestmark = pytest.mark.slow

ALL = 142  # examples of the short form
OUTCOMES: Counter[str] = Counter()

STAGE = f"reconstruct@{CELL}"
MODEL = ("data/models/tiny/model.json", "inputs/model/*")
REPORTED = ("results/tiny/metrics.json", "results/tiny/cells.json", "results/tiny/*.csv")
SCORED = tuple(f"scores/{CELL}/{name}" for name in ("items.jsonl", "summary.json", "token_losses/*"))
RECONSTRUCTED = tuple(f"artefacts/{CELL}/{name}" for name in ("quantized.safetensors", "learned*", "losses.csv"))


def use(target: str, stage: Callable[[], Any], check: Callable[[Any], object], refusable: bool = True) -> None:
    """Check that a stage refuses what it reads in one line, or that its result passes a check."""
    try:
        result = stage()
    except UserError as error:
        assert refusable, error
        OUTCOMES[f"{target}: refused"] += 1
        said = str(error)
        assert said.strip() and len(said.splitlines()) == 1, f"not one line: {said!r}"
    else:
        check(result)
        OUTCOMES[f"{target}: the same"] += 1


@pytest.fixture(scope="module", autouse=True)
def counts() -> Iterator[None]:
    """Print how many files were refused and how many changed nothing (`pytest -s`)."""
    yield
    print("\n" + "\n".join(f"{outcome}: {count}" for outcome, count in sorted(OUTCOMES.items())))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tiny]:
    """A tiny suite of four cells, run in this process."""
    pristine, folder = tmp_path_factory.mktemp("pristine"), tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(pristine)
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("DVC_STAGE", STAGE)  # or no progress is noted
        patch.setattr(report_stage, "draw", lambda *_: {})  # seconds, and no numbers
        run(pristine)
        patch.delenv("DVC_STAGE")
        patch.chdir(folder)
        yield Tiny(pristine, folder, load_params(pristine / "params.yaml"))


@fuzz(14, ALL)
@given(data=st.data())
def test_report(tiny: Tiny, data: st.DataObject) -> None:
    """Also a record or a list of checksums that is lost: the cell must not look like one that was never run."""
    tiny.damaged(data, "scores/*/**/*", "artefacts/*/record.json", "artefacts/*/losses.csv", "artefacts/*/SHA256SUMS")
    use("report", lambda: report(tiny.params), lambda _: tiny.same(*REPORTED))


@fuzz(12, ALL)
@given(data=st.data())
def test_report_from_raw_files(tiny: Tiny, data: st.DataObject) -> None:
    """Nothing else is there; a file that is gone is a cell that was not run, and the report says so."""
    name = tiny.damaged(data, "results/tiny/raw/*")
    for folder in ("scores", "artefacts"):
        shutil.rmtree(folder)

    def check(said: str) -> None:
        if (tiny.folder / name).exists():
            tiny.same(*REPORTED)
        else:
            assert said.endswith("(1 of 4 cells were not run)")

    use("raw files", lambda: report(tiny.params), check)


@fuzz(6, ALL)
@given(data=st.data())
def test_verify(tiny: Tiny, data: st.DataObject) -> None:
    tiny.damaged(data, "scores/*/**/*", "artefacts/*/record.json", "artefacts/*/losses.csv", "artefacts/*/SHA256SUMS")
    use("verify", lambda: verify(tiny.params), lambda _: pytest.fail("no claim is about this suite"))


@fuzz(10, ALL)
@given(data=st.data())
def test_show(tiny: Tiny, data: st.DataObject) -> None:
    tiny.damaged(data, "results/tiny/*")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tiny.pristine)
        wanted = show(tiny.params)
    use("show", lambda: show(tiny.params), lambda shown: shown == wanted or pytest.fail(shown))


@fuzz(10, ALL)
@given(data=st.data())
def test_what_scoring_reads(tiny: Tiny, data: st.DataObject) -> None:
    inputs = (f"artefacts/{CELL}/quantized.safetensors", f"artefacts/{CELL}/SHA256SUMS", "data/corpora/**/*")
    tiny.damaged(data, *inputs, *MODEL)
    shutil.rmtree(RESUME)
    use("score", lambda: score(tiny.params, CELL), lambda _: tiny.same(*SCORED))


@fuzz(8, ALL)
@given(data=st.data())
def test_state_of_scoring(tiny: Tiny, data: st.DataObject) -> None:
    """A damaged piece is made again."""
    tiny.damaged(data, f".resume/score@{CELL}/*/*")
    shutil.rmtree(f"scores/{CELL}")
    use("state of score", lambda: score(tiny.params, CELL), lambda _: tiny.same(*SCORED), refusable=False)


@fuzz(8, ALL)
@given(data=st.data())
def test_what_reconstruction_reads(tiny: Tiny, data: st.DataObject) -> None:
    tiny.damaged(data, CALIBRATION, *MODEL)
    shutil.rmtree(RESUME)
    use("reconstruct", lambda: reconstruct(tiny.params, CELL), lambda _: tiny.same(*RECONSTRUCTED))


@fuzz(8, ALL)
@given(data=st.data())
def test_state_of_reconstruction(tiny: Tiny, data: st.DataObject) -> None:
    tiny.damaged(data, f".resume/{STAGE}/*/*")
    shutil.rmtree(f"artefacts/{CELL}")
    use("state of reconstruct", lambda: reconstruct(tiny.params, CELL), lambda _: tiny.same(*RECONSTRUCTED), False)


@fuzz(8, ALL)
@given(data=st.data())
def test_what_calibration_reads(tiny: Tiny, data: st.DataObject) -> None:
    tiny.damaged(data, "data/corpora/**/*", *MODEL)
    use("calibrate", lambda: calibrate(tiny.params, "tiny-4x32"), lambda _: tiny.same(CALIBRATION))


@fuzz(6, ALL)
@given(data=st.data())
def test_record_of_a_model_of_the_hub(tiny: Tiny, data: st.DataObject) -> None:
    """The model itself is not there. Another model's record is a whole one: whose it is, only DVC can tell."""
    path = tiny.folder / tiny.damaged(data, "data/models/far/model.json")

    def check(_: object) -> None:
        assert path.read_bytes() == (tiny.pristine / "data/models/tiny/model.json").read_bytes()

    use("hub's model", lambda: ModelRecord.load("far").check_weights("far"), check)


@fuzz(6, ALL)
@given(data=st.data())
def test_corpus_that_is_fetched(tiny: Tiny, data: st.DataObject) -> None:
    """People may write what they like into their own files, so that nothing can tell damage from another corpus."""
    tiny.damaged(data, "inputs/corpus/*")
    use("fetch-corpus", lambda: fetch_corpus(tiny.params, "words"), lambda said: said)


@fuzz(12, ALL)
@given(data=st.data())
def test_tensor_files(tiny: Tiny, data: st.DataObject) -> None:
    """Alone, each must tell that it is damaged; only one in the place of another does not know."""
    name = tiny.damaged(data, "artefacts/*/*.safetensors", CALIBRATION, ".resume/**/*.safetensors")
    valid = [other.read_bytes() for other in tiny.alike(name)]

    def check(_: object) -> None:
        assert (tiny.folder / name).read_bytes() in valid, "damage was not noticed"

    use("tensor file", lambda: read_tensors(tiny.folder / name), check)


@fuzz(12, ALL)
@given(data=st.data())
def test_states_that_are_swept(tiny: Tiny, data: st.DataObject) -> None:
    """No state goes that a whole dvc.lock does not hold the result of."""
    tiny.damaged(data, "dvc.lock", "dvc.lock", ".resume/*/*/*.json")
    states = {path.name for path in RESUME.iterdir()}

    def check(_: object) -> None:
        assert states - {path.name for path in RESUME.iterdir()} <= {f"reconstruct@{SWEPT}"}

    use("sweep", sweep, check, refusable=False)


@fuzz(8, ALL)
@given(data=st.data())
def test_wheel(tiny: Tiny, data: st.DataObject) -> None:
    tiny.damaged(data, WHEEL)
    digest = sha256_file(tiny.pristine / WHEEL)

    def unpack() -> str:
        wheel = fetch_wheel("some-data==1.0", digest)
        return extract(wheel, "some_data/file.txt", tiny.folder).read_text()

    use("wheel", unpack, lambda _: pytest.fail("damage was not noticed"))


@fuzz(14, ALL)
@given(data=st.data())
def test_notes_about_a_run(tiny: Tiny, data: st.DataObject) -> None:
    """They decide no result, and are read while others are being made: damage to them stops nothing."""
    tiny.damaged(data, ".failures/*", ".logs/progress/*", ".resume/*/*/peak.json", "*/tiny-*/record.json")

    def look() -> None:
        assert all(len(reason.splitlines()) <= 1 for reason in failures().values())
        state = RunState(tiny.params, list(tiny.params.cells))
        state.listener()(STAGE, "skipped")
        assert len(state.line().splitlines()) == 1
        progress = read_progress(STAGE)
        assert progress is None or 0 <= progress.done <= progress.total > 0
        assert made_before(tiny.params, tiny.params.cells)
        for path in tiny.folder.glob(".resume/*/*/peak.json"):
            assert not path.is_file() or 2**20 < keep_peak(path)["host"] < 2**40

    use("notes", look, lambda _: None, refusable=False)
