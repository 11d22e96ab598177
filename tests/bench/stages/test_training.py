"""The small OPT that is trained here: seeded, resumable, and on nothing that is scored."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from bench.config.params import Params
from bench.config.sections import Training
from bench.inputs.models import ModelRecord
from bench.stages.small_opt import SmallOPT, train, windows_of
from bench.stages.train import train_model
from bench.store.resume import State, dvc_md5
from bench.store.sweep import sweep
from swq.errors import UserError
from swq.models.adapter import DecoderModel
from swq.pieces import Pieces
from tests.support import tiny_suite
from tests.support.project import in_folder_with_code

SETTINGS: dict[str, Any] = {
    "corpus": "words",
    "vocab_size": 300,
    "hidden_size": 32,
    "n_blocks": 2,
    "n_heads": 2,
    "seq_len": 16,
    "batch_size": 4,
    "steps": 30,
    "lr": 1e-2,
    "seed": 1,
}
PASSAGES = tiny_suite.passages(40, 30, seed=9)


def trained(folder: Path, name: str = "m", **changes: Any) -> tuple[float, dict[str, torch.Tensor]]:
    settings = SETTINGS | changes
    loss = train(Training(**settings), PASSAGES, "cpu", State(f"train-model@{name}", settings), folder / name)
    return loss, DecoderModel.load(folder / name).model.state_dict()


def checkpoint(name: str) -> Path:
    """Return the one file that holds a training's state."""
    (found,) = Path(".resume").glob(f"train-model@{name}/*/*.safetensors")
    return found


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages work in the current folder."""
    in_folder_with_code(tmp_path, monkeypatch)


def test_same_seed_same_weights_and_it_learns(tmp_path: Path) -> None:
    loss, weights = trained(tmp_path, "one")
    again, same = trained(tmp_path, "two")
    _, other = trained(tmp_path, "three", seed=2)
    assert loss == again < 0.8 * torch.log(torch.tensor(300.0)).item()
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert not all(torch.equal(weights[name], other[name]) for name in weights)


def test_killed_training_goes_on_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, whole = trained(tmp_path, "whole")
    step = SmallOPT.training_step

    def killed(self: SmallOPT, *arguments: Any) -> torch.Tensor:
        if self.global_step == 27:  # the checkpoint is of step 25
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(SmallOPT, "training_step", killed)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        trained(tmp_path, "resumed")
    assert checkpoint("resumed").is_file()
    seen: list[int] = []
    monkeypatch.setattr(SmallOPT, "training_step", lambda self, *a: (seen.append(self.global_step), step(self, *a))[1])
    _, resumed = trained(tmp_path, "resumed")
    assert seen == [25, 26, 27, 28, 29]
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_training_killed_after_its_last_step_only_saves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loss, whole = trained(tmp_path, "m", steps=25)  # its last step is a checkpoint's
    monkeypatch.setattr(SmallOPT, "training_step", lambda *_: pytest.fail("trained again"))
    again, weights = trained(tmp_path, "m", steps=25)
    assert again == loss and all(torch.equal(whole[name], weights[name]) for name in whole)


@pytest.mark.parametrize("damage", [lambda c: b"", lambda c: c[: len(c) // 2], lambda c: c[:-9] + b"\1" + c[-8:]])
def test_damaged_checkpoint_starts_over(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    """Empty, cut off, or with a byte that is another."""
    _, whole = trained(tmp_path, "m")
    content = damage(checkpoint("m").read_bytes())
    assert content != checkpoint("m").read_bytes()
    checkpoint("m").write_bytes(content)
    _, weights = trained(tmp_path, "m")
    assert all(torch.equal(whole[name], weights[name]) for name in whole)


def test_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    """Even one whose checksum is right: what pickle could run is refused."""
    trained(tmp_path, "m")
    path, ran = checkpoint("m"), tmp_path / "ran"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (ran,)

    content = torch.frombuffer(bytearray(pickle.dumps({"epoch": Trap()})), dtype=torch.uint8)
    Pieces(path.parent).save(path.stem, {"checkpoint": content}, {"seconds": 1.0})
    with pytest.raises(pickle.UnpicklingError):
        trained(tmp_path, "m")
    assert not ran.exists()


def test_time_of_a_killed_training_counts(tmp_path: Path) -> None:
    """A resumed training must not look faster than it was."""
    trained(tmp_path, "m")
    kept = Pieces(checkpoint("m").parent).load(checkpoint("m").stem)
    state = State("train-model@m", SETTINGS)
    train(Training(**SETTINGS), PASSAGES, "cpu", state, tmp_path / "m")
    assert kept and state.seconds == kept[1]["seconds"] > 0


def test_steps_take_every_window_once_an_epoch() -> None:
    module = SmallOPT(Training(**(SETTINGS | {"batch_size": 3})), torch.arange(7).unsqueeze(1), 300)
    taken = torch.cat([module.batch(step) for step in range(7)]).flatten().tolist()
    epochs = [taken[:7], taken[7:14], taken[14:]]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert epochs[0] != epochs[1]


@pytest.fixture
def params(tmp_path: Path) -> Params:
    tiny_suite.write_corpus(tmp_path / "inputs/corpus")
    training = tiny_suite.passages(30, 40, seed=4)
    scored = json.loads((tmp_path / "inputs/corpus/perplexity.json").read_text())
    (tmp_path / "inputs/corpus/training.json").write_text(json.dumps([*training, scored[0]]))
    values = tiny_suite.params() | {"trainings": {"opt": SETTINGS | {"steps": 2}}}
    return Params.model_validate(values)


def test_stage_leaves_a_model_that_can_be_quantized(params: Params) -> None:
    assert train_model(params, "opt").startswith("model opt: ")
    record = ModelRecord.load("opt")
    assert DecoderModel.load(record.weights).model.config.model_type == "opt"
    facts = json.loads(Path("data/models/opt/record.json").read_text())
    assert facts["passages"] == 30 and facts["removed"]["perplexity"] == 1, "what is scored was not trained on"
    assert facts["loss"] > 0 and facts["wall_seconds"] > 0
    assert list(Path(".resume/train-model@opt").iterdir()), "the state stays until dvc.lock holds the model"
    out = {"path": "data/models/opt", "md5": dvc_md5(Path("data/models/opt"))}
    Path("dvc.lock").write_text(yaml.safe_dump({"stages": {"train-model@opt": {"outs": [out]}}}))
    sweep()
    assert not list(Path(".resume").iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_heads": 3}, "n_heads 3 does not divide hidden_size 32"),
        ({"steps": 0}, "steps"),
        ({"lr": float("nan")}, "lr"),
        ({"stesp": 3}, "unknown key 'stesp'; did you mean 'steps'"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Training(**(SETTINGS | changes))


def test_names_of_models_are_taken_once(params: Params) -> None:
    values = tiny_suite.params() | {"trainings": {"tiny": SETTINGS}}
    with pytest.raises(ValueError, match=r"trainings.tiny: the name is taken"):
        Params.model_validate(values)


def test_text_shorter_than_a_window_is_named() -> None:
    with pytest.raises(UserError, match="the training text has 3 tokens, fewer than seq_len 16"):
        windows_of([1, 2, 3], 16)
