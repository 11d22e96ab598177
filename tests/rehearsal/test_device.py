"""A step of training, what is stored, and a pass of scoring on a device that is not the CPU: nothing stays behind."""

from __future__ import annotations

import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from swq.losses import Loss
from swq.methods import METHODS
from swq.methods.apiq import ApiQ
from swq.methods.awq import AWQ
from swq.methods.base import Method
from swq.methods.gptq import GPTQ
from swq.methods.omniquant import OmniQuant
from swq.methods.rtn import RTN
from swq.methods.tesseraq import TesseraQ
from swq.perplexity import token_divergences, token_losses
from swq.quant.scheme import Scheme
from swq.reconstruct import data as samples
from swq.reconstruct.data import ActivationPaths, BlockData
from swq.reconstruct.module import BlockReconstruction
from swq.reconstruct.recipe import Recipe
from swq.reconstruct.runner import _Walk
from swq.reconstruct.saliency import squared_gradients
from swq.streaming import stream
from tests.rehearsal.pretend import DEVICE, pretended_fabric, pretending
from tests.support.families import FAMILIES, tiny_model

SCHEME = Scheme(2, 32)
ALL = Loss({"mse": 0.5, "l2": 0.3, "sw": 0.1, "sw_mismatched": 0.1}, 8)
TRAINED: dict[str, Method] = {
    "omniquant": OmniQuant(1, aug_loss=True),
    "omniquant with LET": OmniQuant(1, let=True),
    "tesseraq from RTN": TesseraQ((0.5, 0.1), iterations=1, start=RTN()),
    "tesseraq from AWQ": TesseraQ((0.5,), iterations=1, start=AWQ(scale=False)),
    "tesseraq from OmniQuant": TesseraQ((0.5,), iterations=1, start=OmniQuant(1)),
    "apiq": ApiQ(8, 1, saliency_weight=0.1, saliency_samples=2),
}
FOUND: dict[str, Method] = {"rtn": RTN(), "awq's ranges": AWQ(scale=False), "gptq": GPTQ()}
BOTH_FAMILIES = ["llama-grouped", "opt"]


def tokens(n: int = 4, length: int = 16) -> Tensor:
    return torch.randint(0, 96, (n, length))


class Walk:
    """The first block of a model, as the walk over blocks meets it on Fabric's device."""

    def __init__(self, fabric: Fabric, family: str, method: Method, loss: Loss | None = None) -> None:
        self.fabric, self.method = fabric, method
        self.model = tiny_model(family)
        self.paths = ActivationPaths(fabric, self.model, tokens())
        recipe = Recipe(method, SCHEME, loss)
        salient = tokens()[: method.gradient_samples]
        found = squared_gradients(fabric, self.model, salient) if len(salient) else ()
        self.model.fill_block(0, fabric.device)
        self.walk = _Walk(
            fabric, self.model, recipe, self.paths, lambda _, shape: torch.randn(shape), lambda: None, found
        )
        self.quantizer = method.quantizer(self.walk._context(0))
        self.data = self.paths.block_data(0, with_aug=True)

    def train(self, loss: Loss, data: BlockData) -> None:
        """Take two steps in every round."""
        block, kwargs = self.model.blocks[0], self.paths.kwargs(0)
        module = BlockReconstruction(0, block, kwargs, self.quantizer, loss, lambda _, shape: torch.randn(shape))
        wrapped = self.fabric.setup_module(module)
        for number in range(self.quantizer.rounds):
            optimizer = self.fabric.setup_optimizers(self.quantizer.start_round(number))
            for indices in ([0], [2, 0]):
                values = wrapped.training_step(data.batch(self.fabric, indices, loss.needs_other), 0)
                optimizer.zero_grad()
                self.fabric.backward(values["loss"])
                optimizer.step()  # type: ignore[operator]
                assert {value.device for value in values.values()} == {DEVICE}


@pytest.fixture
def fabric(monkeypatch: pytest.MonkeyPatch) -> Fabric:
    return pretended_fabric()


@pytest.mark.parametrize("family", BOTH_FAMILIES)
@pytest.mark.parametrize("method", TRAINED)
def test_training_and_what_is_stored_stay_on_the_device(
    fabric: Fabric, method: str, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pretending(monkeypatch):
        walk = Walk(fabric, family, TRAINED[method], ALL)
        walk.train(ALL, walk.data)
        record = walk.walk.record(0, walk.quantizer, 0.0)
        stored = walk.walk.stored(0, record)
        assert {stored[f"{name}.weight"].device for name in walk.model.linears(0)} == {DEVICE}
        assert {t.device.type for part in (record.packed, record.learned) for t in part.values()} == {"cpu"}
        walk.paths.advance(0, walk.data.fp_output, stored)
        assert walk.paths.quant_hidden.device.type == "cpu"


@pytest.mark.parametrize("family", list(FAMILIES))
def test_every_family_trains_on_the_device(fabric: Fabric, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pretending(monkeypatch):
        walk = Walk(fabric, family, TRAINED["omniquant"], ALL)
        walk.train(ALL, walk.data)


@pytest.mark.parametrize("method", FOUND)
def test_methods_that_do_not_train_stay_on_the_device(
    fabric: Fabric, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pretending(monkeypatch):
        walk = Walk(fabric, "llama", FOUND[method])
        stored = walk.walk.stored(0, walk.walk.record(0, walk.quantizer, 0.0))
        assert {tensor.device for tensor in stored.values()} == {DEVICE}


def test_every_method_is_rehearsed() -> None:
    assert {type(m) for m in (*TRAINED.values(), *FOUND.values())} == {of for n, of in METHODS.items() if n != "fp"}


def test_a_tensor_that_is_left_on_the_host_is_noticed(fabric: Fabric, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the tests above would prove nothing."""
    with pretending(monkeypatch):
        walk = Walk(fabric, "llama", TRAINED["omniquant"], ALL)
        monkeypatch.setattr(samples, "to_device", lambda _, tensor: tensor)
        with pytest.raises(RuntimeError, match=r"at least two devices, lazy and cpu"):
            walk.train(ALL, walk.data)


def test_samples_are_read_on_the_device_where_there_is_room(fabric: Fabric, monkeypatch: pytest.MonkeyPatch) -> None:
    with pretending(monkeypatch):
        walk = Walk(fabric, "llama", TRAINED["omniquant"], ALL)
        size = 3 * walk.data.hidden.nbytes
        monkeypatch.setattr(samples, "free_bytes", lambda _: 2 * size)
        near = walk.data.nearest(fabric)
        assert {near.hidden.device, near.fp_output.device, near.aug_output.device} == {DEVICE}  # type: ignore[union-attr]
        walk.train(ALL, near)
        monkeypatch.setattr(samples, "free_bytes", lambda _: 2 * size - 1)
        assert walk.data.nearest(fabric) is walk.data


@pytest.mark.parametrize("resident", [0, 2])
@pytest.mark.parametrize("family", BOTH_FAMILIES)
def test_scoring_reads_its_losses_back_from_the_device(
    family: str, resident: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where blocks come and go."""
    with pretending(monkeypatch):
        model, other = (_streamed(family, resident) for _ in range(2))
        window = tokens(1, 24)[0]
        for values in (token_losses(model, window, DEVICE), token_divergences(other, model, window, DEVICE)):
            assert isinstance(values, FakeTensor) and values.device.type == "cpu" and values.shape == (23,)


def _streamed(family: str, resident: int) -> torch.nn.Module:
    model = tiny_model(family)
    model.model.to(DEVICE)
    lm, stays = stream(model, DEVICE, 10**9 if resident else 0)
    assert stays == resident
    return lm
