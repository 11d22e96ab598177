"""The small OPT that is trained here: seeded, resumable, and on nothing that is scored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.config.params import Params
from bench.config.sections import Training
from bench.inputs.models import ModelRecord
from bench.stages.small_opt import SmallOPT, train, windows_of
from bench.stages.train import train_model
from swq.errors import UserError
from swq.models.adapter import DecoderModel
from tests.support import tiny_suite

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
    loss = train(Training(**(SETTINGS | changes)), PASSAGES, "cpu", folder / f"state-{name}", folder / name)
    return loss, DecoderModel.load(folder / name).model.state_dict()


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
    assert (tmp_path / "state-resumed/last.ckpt").is_file()
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


@pytest.mark.parametrize("left", [0.0, 0.5])
def test_damaged_checkpoint_starts_over(tmp_path: Path, left: float) -> None:
    _, whole = trained(tmp_path, "m")
    last = tmp_path / "state-m/last.ckpt"
    last.write_bytes(last.read_bytes()[: int(left * last.stat().st_size)])
    _, weights = trained(tmp_path, "m")
    assert all(torch.equal(whole[name], weights[name]) for name in whole)


def test_steps_take_every_window_once_an_epoch() -> None:
    module = SmallOPT(Training(**(SETTINGS | {"batch_size": 3})), torch.arange(7).unsqueeze(1), 300)
    taken = torch.cat([module.batch(step) for step in range(7)]).flatten().tolist()
    epochs = [taken[:7], taken[7:14], taken[14:]]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert epochs[0] != epochs[1]


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    monkeypatch.chdir(tmp_path)
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
    assert not list(Path(".resume").glob("*")), "a finished training leaves no state"


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
