"""Worker: one of our models, trained by the same calls as in ``seqbench.training.loop``."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tools.peers.protocol import Settings, Stages, serve, versions

DIFFERS = {
    "sasrec": [
        "one loss per training item but a user's first (windows over the whole history, none dropped)",
        "LayerNorm behind the residual, GELU",
        "no dropout on attention probabilities",
    ],
    "mamba4rec": [
        "another model: selective state space, no attention",
        "its scan is ours in every row, as PyTorch has none",
    ],
    "gru4rec": ["another model: recurrent layers of 128 units"],
    "bert4rec": ["another model: only the masked fifth of a step's targets is predicted"],
}
COMMON = [
    "evaluation in batches that a core's cache holds (8,192 positions, padding included; GRU4Rec and Mamba4Rec 51,200)"
]
COUNTED = 4  # batches whose cost is counted


class Ours:
    """Our model, optimiser and endless batches."""

    def __init__(self, settings: Settings) -> None:
        stages = Stages()
        with stages.time("import"):
            import torch

            import models
            from seqbench import data
            from seqbench.training import batches, loop, ranking
        self.settings, self.step = settings, loop.training_step
        torch.set_num_threads(settings.threads)
        torch.manual_seed(0)
        models.use_kernels(settings.kernels)
        with stages.time("load"):
            dataset = data.open_dataset(Path(settings.data))
            windows = batches.training_windows(dataset.split, settings.length)
            device = torch.device("cpu")
            self.gatherer = batches.Gatherer(dataset.items, windows, device)
            self.model = models.build(
                settings.model, _options(settings, models), dataset.n_items, settings.length
            )
            self.optimizer = loop.make_optimizer(self.model, _training(settings))
            self.evaluator = ranking.Evaluator(
                dataset.items, dataset.split, settings.length, settings.eval_batch, device,
                settings.precision,
            )  # fmt: skip
        self.windows, self.epoch_batches = windows, batches.epoch_batches
        self.facts = {"seconds": stages.seconds, "n_items": dataset.n_items, **self._facts()}

    def _facts(self) -> dict[str, Any]:
        return {
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "per_target": self._per_target(),
            "backend": self.model.backend_report(),
            "versions": versions("torch", "numpy"),
            "evaluates": "rank of the test item, twice: seen items kept and seen items excluded",
            "differs": [*DIFFERS.get(self.settings.model, []), *COMMON],
        }

    def _per_target(self) -> dict[str, float]:
        """What forward and backward pass cost per target as the model counts it, over some batches of an epoch.

        Counted in fp32 whatever the precision: what a reduced one pads or converts is no work of the model's.
        """
        from seqbench.measuring import counting

        found, targets = Counter(), 0
        self.model.train()
        for batch in itertools.islice(self._batches(), COUNTED):
            found.update(counting.count(lambda batch=batch: self.model.loss(batch).backward()))
            targets += batch.n_targets
        self.model.zero_grad(set_to_none=True)
        return {name: value / targets for name, value in found.items()}

    def _batches(self) -> Iterator[Any]:
        """Batches of about ``batch`` real targets, epoch after epoch."""
        import numpy as np
        import torch

        s = self.settings
        rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
        while True:
            epoch = self.epoch_batches(
                self.windows, s.batch, rng, bucket_by_length=s.bucket_by_length
            )
            yield from self.gatherer.batches(epoch, generator)

    def train(self, done: Callable[[int], bool]) -> None:
        """Steps until ``done`` says no."""
        self.model.train()
        for batch in self._batches():
            self.step(self.model, self.optimizer, batch, self.settings.precision)
            if not done(batch.n_targets):
                return

    def evaluate(self) -> int:
        """Full ranking of all users' test items."""
        ranks = self.evaluator.ranks(self.model, "test")
        return len(ranks["kept"].rank)


def _training(settings: Settings) -> Any:
    from seqbench.core.jobs import Training

    return Training(learning_rate=settings.learning_rate, kernels=settings.kernels)


def _options(settings: Settings, models: Any) -> dict:
    """The settings that the model has; the others keep its defaults."""
    known = models.load(settings.model).Config.__dataclass_fields__
    names = ("d_model", "n_layers", "n_heads", "d_inner", "dropout")
    return {name: getattr(settings, name) for name in names if name in known}


if __name__ == "__main__":
    serve(Ours)
