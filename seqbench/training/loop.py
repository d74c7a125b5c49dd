"""Training one model: a short loop with a budget in steps, a schedule, selection on validation, and resuming.

Everything random in an epoch derives from (seed, epoch), so a run that was interrupted and resumed at an epoch's
start gives the same ranks as one that was not. Times here are informative; ``seqbench.measuring`` yields published ones.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

import models

from ..core import deadline, provenance
from ..core.disk import require_room
from ..core.errors import UserError, words
from ..core.jobs import Training, TrainingJob
from ..core.records import write_atomically
from ..data import Dataset
from ..hardware import device
from ..hardware.arithmetic import arithmetic
from . import ranking
from .batches import Gatherer, Windows, epoch_batches, windows_for
from .progress import Progress

CHECK_EVERY = 50  # steps between two reads of the loss: each waits for the device
SAVE_EVERY_S = 30.0
DIGEST_BYTES = 32  # SHA-256, behind a saved state


@dataclass
class State:
    """Where a training stands; with the weights and the optimiser all that is needed to go on."""

    epoch: int = 0
    step: int = 0
    targets: int = 0
    positions: int = 0
    predictions: float = 0.0  # expected: how many a batch masks, its device knows
    train_s: float = 0.0
    evaluate_s: float = 0.0
    best: float = -1.0
    best_step: int = 0
    curve: list[dict[str, Any]] = field(default_factory=list)
    resumed_from: int | None = None


class Trainer:
    """One training job (``experiment``) on ``dataset``; ``run`` gives values, samples and the best weights."""

    def __init__(
        self, experiment: TrainingJob, dataset: Dataset, folder: Path, where: torch.device
    ) -> None:
        self.experiment, self.dataset, self.device = experiment, dataset, where
        self.training = experiment.training
        torch.manual_seed(experiment.seed)
        models.use_kernels(self.training.kernels)
        options = dict(experiment.hyperparameters)
        model = models.build(experiment.model, options, dataset.n_items, experiment.seq_len)
        model.every_position = self.training.compute_all_positions
        self.model = model.to(where)
        self.evaluator = ranking.evaluator_of(experiment, dataset, where)
        self.state = State()
        self.begun_s: float | None = None  # age of the process when its first step began
        self.best_weights = self._weights()
        weights = sum(w.nbytes for w in self.best_weights.values())
        require_room(folder, weights + dataset.items.nbytes)  # and samples, which are smaller
        self.resume_file = folder / f"resume-{_key(experiment, dataset)}.pt"

    def run(self) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, torch.Tensor]]:
        """Train until patience or budget ends; with schedule ``linear`` until the budget does.

        Returns:
            values and samples of the record, and the weights of the best step (``linear``: the last).

        Raises:
            evaluate.Diverged: loss or scores are no longer finite.
            deadline.Over: it comes before another epoch would end; the state is saved.
        """
        objective = self.training.objective
        windows = windows_for(
            objective, self.dataset.split, self.experiment.seq_len, self.model, self.training.window_stride
        )  # fmt: skip
        optimizer = make_optimizer(self.model, self.training)
        self._resume(optimizer)
        stopped = self._train(windows, optimizer)
        self.model.load_state_dict(self.best_weights)
        test = self.training.rank_test
        samples = ranking.samples(self.evaluator, self.model, test)
        self.resume_file.unlink(missing_ok=True)
        return self._values(stopped), samples, self.best_weights

    def _train(self, windows: Windows, optimizer: torch.optim.Optimizer) -> str:
        gatherer = Gatherer(self.dataset.items, windows, self.device)
        label = f"{self.experiment.dataset} {self.experiment.model}"
        label += f" L{self.experiment.seq_len} s{self.experiment.seed}"
        saved = time.monotonic()
        with Progress(label, self.training.max_steps, self.state.step) as progress:
            while True:
                begun = time.monotonic()
                stopped = self._epoch(windows, gatherer, optimizer, progress)
                if stopped:
                    return stopped
                self.state.epoch += 1
                now = time.monotonic()
                last = deadline.left_s() < now - begun
                if last or now - saved > SAVE_EVERY_S:
                    self._save(optimizer)
                    saved = now
                if last:
                    raise deadline.Over(f"{label} at step {self.state.step}")

    def _epoch(
        self, windows: Windows, gatherer: Gatherer, optimizer: Any, progress: Progress
    ) -> str | None:
        """One epoch; why to stop, or None to go on."""
        entropy = np.random.SeedSequence((self.experiment.seed, self.state.epoch))
        rng = np.random.default_rng(entropy)
        torch.manual_seed(int(entropy.generate_state(1)[0]))  # dropout
        generator = torch.Generator(self.device).manual_seed(int(entropy.generate_state(2)[1]))
        losses: list[torch.Tensor] = []
        start = time.perf_counter()
        t = self.training
        epoch = epoch_batches(windows, t.targets_per_step, rng, t.bucket_by_length, t.step_counts)
        for numbers, batch in zip(epoch, gatherer.batches(epoch, generator), strict=True):
            self.begun_s = self.begun_s or device.process_age_s()
            losses.append(self._step(batch, optimizer))
            self.state.step += 1
            self.state.targets += batch.n_targets
            self.state.positions += int(windows.positions_of(numbers).sum())
            self.state.predictions += float(windows.predictions_of(numbers).sum())
            progress.advance()
            if self.state.step % CHECK_EVERY == 0 and not torch.isfinite(losses[-1]):
                raise ranking.Diverged(f"loss is {losses[-1].item()} at step {self.state.step}")
            ended = self.state.step >= self.training.max_steps
            if ended or self.state.step % self.training.eval_every == 0:
                device.synchronise(self.device)
                self.state.train_s += time.perf_counter() - start
                self._validate(float(torch.stack(losses).mean()), progress)
                losses, start = [], time.perf_counter()
                if self.state.step - self.state.best_step >= self.training.patience_steps:
                    return "patience"
            if ended:
                return "max_steps"
        device.synchronise(self.device)
        self.state.train_s += time.perf_counter() - start
        return None

    def _step(self, batch: models.Batch, optimizer: Any) -> torch.Tensor:
        for group in optimizer.param_groups:
            group["lr"] = rate(self.training, self.state.step)
        t = self.training
        return training_step(self.model, optimizer, batch, t.precision, t.clip_norm)

    def _validate(self, loss: float, progress: Progress) -> None:
        if not np.isfinite(loss):
            raise ranking.Diverged(f"loss is {loss} before step {self.state.step}")
        start = time.perf_counter()
        quality = ranking.summary(self.evaluator.ranks(self.model, "valid"))
        self.state.evaluate_s += time.perf_counter() - start
        value = quality[self.training.select_seen_items][self.training.select_on]
        if value > self.state.best or self.training.decays:
            self.state.best, self.state.best_step = value, self.state.step
            self.best_weights = self._weights()
        point = {
            "step": self.state.step,
            "targets": self.state.targets,
            "seconds": round(self.state.train_s, 3),
            "evaluate_s": round(self.state.evaluate_s, 3),
            "loss": loss,
            "valid": quality,
        }
        if self.training.curve_test:  # shown beside the curve; nothing is chosen by it
            point["test"] = ranking.summary(self.evaluator.ranks(self.model, "test"))
        self.state.curve.append(point)
        self.model.train()
        progress.line(
            f"step {self.state.step} loss {loss:.4f} valid {self.training.select_on} "
            f"{value:.4f} (best {self.state.best:.4f} at {self.state.best_step}), "
            f"{self.state.train_s:.0f} s training, {self.state.evaluate_s:.0f} s validating"
        )

    def _values(self, stopped: str) -> dict[str, Any]:
        s = self.state
        return {
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "backend": self.model.backend_report(),
            "steps": s.step,
            "epochs": s.epoch,
            "targets_seen": s.targets,
            "positions": s.positions,
            "predictions": round(s.predictions),
            "best_step": s.best_step,
            "best_validation": s.best if s.best_step else None,
            "stopped": stopped,
            # The budget ended before patience did: more steps might still have helped. A schedule ends by design.
            "still_improving": None if self.training.decays else stopped == "max_steps",
            "train_s": round(s.train_s, 3),
            "evaluate_s": round(s.evaluate_s, 3),
            "first_step_after_s": round(self.begun_s, 3) if self.begun_s else None,
            "compile_s": round(models.compile_seconds(), 3),
            "peak_rss_bytes": device.peak_rss_bytes(),
            "resumed_from": s.resumed_from,
            "curve": s.curve,
        }

    def _weights(self) -> dict[str, torch.Tensor]:
        return {k: v.detach().cpu().clone() for k, v in self.model.state_dict().items()}

    def _save(self, optimizer: torch.optim.Optimizer) -> None:
        """Save where the training stands, and its SHA-256 behind it. A disk without room costs the state, not the training."""
        content = io.BytesIO()
        torch.save(
            {
                "state": vars(self.state),
                "model": self.model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "best": self.best_weights,
            },
            content,
        )
        content.write(hashlib.sha256(content.getbuffer()).digest())
        try:
            write_atomically(self.resume_file, content.getbuffer())
        except (OSError, UserError) as error:
            print(f"the state of training is not saved: {words(error)}", file=sys.stderr)

    def _resume(self, optimizer: torch.optim.Optimizer) -> None:
        if not self.resume_file.exists():
            return
        content = memoryview(self.resume_file.read_bytes())
        state, known = content[:-DIGEST_BYTES], content[-DIGEST_BYTES:]
        if hashlib.sha256(state).digest() != known:
            said = f"{self.resume_file}: damaged (SHA-256 differs); the training begins anew"
            print(said, file=sys.stderr)
            return
        saved = torch.load(io.BytesIO(state), map_location=self.device, weights_only=True)
        self.model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        self.best_weights = {k: v.cpu() for k, v in saved["best"].items()}
        self.state = State(**saved["state"])
        self.state.resumed_from = self.state.step


def _bare(function: Any) -> Any:
    return getattr(function, "__wrapped__", function)


class _Adam(torch.optim.Adam):
    """PyTorch's, without the wrappers that keep it out of compiled graphs: they import PyTorch's compiler.

    That takes a second of every process, and no step is compiled here.
    """

    step = torch.no_grad()(_bare(torch.optim.Adam.step))
    zero_grad = _bare(torch.optim.Adam.zero_grad)
    add_param_group = _bare(torch.optim.Adam.add_param_group)
    state_dict = _bare(torch.optim.Adam.state_dict)
    load_state_dict = _bare(torch.optim.Adam.load_state_dict)


def make_optimizer(model: torch.nn.Module, training: Training) -> torch.optim.Adam:
    """Adam in one pass over each parameter; kernels ``eager`` leave it as PyTorch has it by default."""
    return _Adam(
        model.parameters(),
        lr=training.learning_rate,
        weight_decay=training.weight_decay,
        fused=None if training.kernels == "eager" else True,
    )


def rate(training: Training, step: int) -> float:
    """Learning rate of the update after ``step`` of them: a linear rise, then constant or linear to zero at max_steps."""
    factor = 1.0
    if training.schedule == "linear":
        left, decaying = training.max_steps - step, training.max_steps - training.warmup_steps
        factor = min(factor, left / decaying)
    if training.warmup_steps:
        factor = min(factor, (step + 1) / training.warmup_steps)
    return training.learning_rate * factor


def training_step(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: models.Batch,
    precision: str = "fp32",
    clip_norm: float | None = None,
) -> torch.Tensor:
    """Forward, backward and update on one batch; the detached loss (scalar). clip_norm: of all gradients together."""
    optimizer.zero_grad(set_to_none=True)
    with arithmetic(precision, batch.windows.device):
        loss = model.loss(batch)
    loss.backward()
    if clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    optimizer.step()
    return loss.detach()


def _key(experiment: TrainingJob, dataset: Dataset) -> str:
    """Names a resume state by all that it depends on: configuration, data, code and threads."""
    parts = [
        experiment.to_json(),
        dataset.info["hash"],
        provenance.training(experiment.model),
    ]
    parts.append(str(torch.get_num_threads()))
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
