"""A small OPT trained from scratch on a corpus's training text, so that the OPT family is tested on a trained model.

It is not a useful language model. What counts is that its weights and activations are those of a trained one.
"""

from __future__ import annotations

import logging
import math
import time
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.plugins.io import CheckpointIO
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from tokenizers import ByteLevelBPETokenizer
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import OPTConfig, OPTForCausalLM, PreTrainedTokenizerFast

from bench.config.sections import Training
from bench.inputs.models import tokenize
from bench.store.resume import State
from swq.errors import UserError
from swq.perplexity import text_windows
from swq.seeding import keyed_generator

END_OF_TEXT = "</s>"
WARM_UP = 0.05  # share of the steps
SAVE_EVERY = 25  # steps
LAST = "last"  # name of the checkpoint


def train_tokenizer(passages: list[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer learned from `passages`."""
    trainer = ByteLevelBPETokenizer()
    trainer.train_from_iterator(passages, vocab_size=vocab_size, special_tokens=[END_OF_TEXT], show_progress=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=trainer._tokenizer, bos_token=END_OF_TEXT, eos_token=END_OF_TEXT, pad_token=END_OF_TEXT
    )


def windows_of(token_ids: list[int], seq_len: int) -> Tensor:
    """Cut a text into windows (N, seq_len); the remainder at its end is dropped.

    Raises:
        UserError: the text is shorter than one window.
    """
    if len(token_ids) < seq_len:
        raise UserError(f"the training text has {len(token_ids)} tokens, fewer than seq_len {seq_len}")
    return text_windows(torch.tensor(token_ids), seq_len, None)


class Progress(Callback):
    """A progress bar with the time left, also if the output is not a terminal."""

    def on_train_start(self, trainer: Trainer, _: LightningModule) -> None:
        self.bar = tqdm(total=trainer.max_steps, initial=trainer.global_step, desc="train", unit="step", mininterval=1)

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        self.bar.set_postfix_str(f"loss {trainer.callback_metrics['loss']:.3f}", refresh=False)
        self.bar.update(trainer.global_step - self.bar.n)

    def on_train_end(self, *_: object) -> None:
        self.bar.close()


class SmallOPT(LightningModule):
    """An OPT and the windows it is trained on. A step's number decides its windows, also after a resume."""

    def __init__(self, settings: Training, windows: Tensor, vocab_size: int) -> None:
        super().__init__()
        self.settings = settings
        self.windows = windows
        config = OPTConfig(
            vocab_size=vocab_size,
            hidden_size=settings.hidden_size,
            word_embed_proj_dim=settings.hidden_size,
            ffn_dim=4 * settings.hidden_size,
            num_hidden_layers=settings.n_blocks,
            num_attention_heads=settings.n_heads,
            max_position_embeddings=settings.seq_len,
            dropout=0.0,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=0,
        )
        with torch.random.fork_rng():
            torch.manual_seed(settings.seed)  # transformers draws initial weights from the global generator only
            self.model = OPTForCausalLM(config)

    def batch(self, step: int) -> Tensor:
        """Return the windows of a step (batch, seq_len): every epoch has a new order of all windows."""
        first = step * self.settings.batch_size
        indices = [
            self._order(i // len(self.windows))[i % len(self.windows)]
            for i in range(first, first + self.settings.batch_size)
        ]
        return self.windows[indices].to(self.device)

    def _order(self, epoch: int) -> list[int]:
        generator = keyed_generator(self.settings.seed, "training", epoch)
        return torch.randperm(len(self.windows), generator=generator).tolist()

    def training_step(self, _: Tensor, __: int) -> Tensor:
        tokens = self.batch(self.global_step)
        loss = self.model(tokens, labels=tokens, use_cache=False).loss
        if not torch.isfinite(loss):
            raise UserError(f"training: the loss became {loss.item()} at step {self.global_step}; lower lr")
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        steps, warm_up = self.settings.steps, max(1, int(WARM_UP * self.settings.steps))
        optimizer = AdamW(self.parameters(), lr=self.settings.lr, weight_decay=0.1, betas=(0.9, 0.95))

        def factor(step: int) -> float:
            return min((step + 1) / warm_up, 0.5 + 0.5 * math.cos(math.pi * step / steps))

        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}}


class KeptTraining(CheckpointIO):
    """Lightning's checkpoints as pieces of a state: checked, brought to the disk, and read without pickle's powers.

    The file that Lightning names decides only the piece's name.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self.seconds = state.seconds
        self.began = time.perf_counter()

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        written = BytesIO()
        torch.save(checkpoint, written)
        content = torch.frombuffer(bytearray(written.getvalue()), dtype=torch.uint8)
        seconds = self.seconds + time.perf_counter() - self.began
        self.state.pieces.save(Path(path).stem, {"checkpoint": content}, {"seconds": round(seconds, 3)})
        self.state.peak()

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        found = self.state.pieces.load(Path(path).stem)
        assert found, "train() looked first"
        return torch.load(BytesIO(found[0]["checkpoint"].numpy().tobytes()), map_location, weights_only=True)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Nothing to do: a later checkpoint has the name of the one before."""


def train(settings: Training, passages: list[str], accelerator: str, state: State, weights: Path) -> float:
    """Train, save a transformers folder to `weights`, and return the loss on the last step's windows in nats per token.

    Args:
        settings: shape, schedule and seed.
        passages: the training text.
        accelerator: as Lightning names it.
        state: keeps the last checkpoint; a run that finds one continues from it.
        weights: where model and tokenizer are saved.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its tips are not ours
    # A step's number decides its batch, so a resumed run needs no state of the data loader.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*dataloader is not resumable.*|.*Checkpoint directory .* not empty.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*", module="lightning.*")
    tokenizer = train_tokenizer(passages, settings.vocab_size)
    module = SmallOPT(settings, windows_of(tokenize(tokenizer, passages), settings.seq_len), len(tokenizer))
    kept = state.pieces.load(LAST)
    if kept:
        state.seconds = kept[1]["seconds"]
    folder = state.pieces.folder
    keep = ModelCheckpoint(folder, filename=LAST, every_n_train_steps=SAVE_EVERY, enable_version_counter=False)
    trainer = Trainer(
        max_steps=settings.steps,
        accelerator=accelerator,
        devices=1,
        deterministic=True,
        gradient_clip_val=1.0,
        callbacks=[keep, Progress()],
        plugins=[KeptTraining(state)],
        enable_progress_bar=False,
        logger=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    last = folder / f"{LAST}.ckpt" if kept else None
    trainer.fit(module, DataLoader(range(settings.steps)), ckpt_path=last)  # type: ignore[arg-type]
    module.model.save_pretrained(weights)
    tokenizer.save_pretrained(weights)
    with torch.no_grad():  # measured again: a run that was killed after its last step does not train any more
        tokens = module.batch(settings.steps - 1)
        return module.model.eval()(tokens, labels=tokens, use_cache=False).loss.item()
