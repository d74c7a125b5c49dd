"""Worker: RecTools' SASRec, trained by its own data loader and Lightning module in Lightning's own loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tools.peers.interactions import TEST, VALIDATION, frame, open_flat
from tools.peers.protocol import Settings, Stages, serve, versions

DIFFERS = [
    "only the last 200 targets of a user train (older items are dropped); every sequence padded to 200",
    "feed-forward width 64 in the library; replaced by its own block at width 256 here",
    "LayerNorm in front, ReLU, dropout on attention probabilities and inside the feed-forward network",
    "Adam with betas (0.9, 0.98)",
    "catalogue: items of the training windows only",
]


class RecTools:
    """The library's SASRec, its training data, and the histories to recommend for."""

    def __init__(self, settings: Settings) -> None:
        stages = Stages()
        with stages.time("import"):
            import torch
            from rectools import Columns
            from rectools.dataset import Dataset
            from rectools.models import SASRecModel
            from rectools.models.nn.transformers.net_blocks import PointWiseFeedForward
        torch.set_num_threads(settings.threads)
        torch.manual_seed(0)
        with stages.time("convert"):
            columns = (Columns.User, Columns.Item, Columns.Datetime)
            flat = open_flat(settings.data)
            train = frame(flat, flat.before(VALIDATION), columns).assign(**{Columns.Weight: 1.0})
            history = frame(flat, flat.before(TEST), columns).assign(**{Columns.Weight: 1.0})
        with stages.time("load"):
            self.model = _built(SASRecModel, settings, Dataset.construct(train))
            for (
                block
            ) in self.model.lightning_model.torch_model.transformer_layers.transformer_blocks:
                block.feed_forward = PointWiseFeedForward(
                    settings.d_model, settings.d_inner, settings.dropout, torch.nn.ReLU()
                )
            self.loader = self.model.data_preparator.get_dataloader_train()
            self.history = Dataset.construct(history)
        self.users = history[Columns.User].unique()
        module = self.model.lightning_model
        packages = ("rectools", "torch", "numpy", "pandas", "pytorch-lightning")
        self.facts = {
            "seconds": stages.seconds,
            "parameters": sum(p.numel() for p in module.parameters()),
            "n_items": len(self.model.data_preparator.get_known_item_ids()),
            "versions": versions(*packages),
            "evaluates": "top 10 items of every user, seen items kept",
            "differs": DIFFERS,
        }

    def train(self, done: Callable[[int], bool]) -> None:
        """Fit; the clock stops the loop behind a batch."""
        from pytorch_lightning import Callback, Trainer

        class Stop(Callback):
            def on_train_batch_end(
                self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
            ) -> None:
                trainer.should_stop = not done(int((batch["y"] != 0).sum()))

        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        trainer = Trainer(
            max_epochs=10**6, callbacks=[Stop()], enable_checkpointing=False,
            accelerator="cpu", devices=1, **quiet,
        )  # fmt: skip
        trainer.fit(self.model.lightning_model, self.loader)
        self.model.is_fitted = True

    def evaluate(self) -> int:
        """Top 10 of all users from all items."""
        found = self.model.recommend(self.users, self.history, k=10, filter_viewed=False)
        return int(found["user_id"].nunique())


def _built(kind: Any, s: Settings, dataset: Any) -> Any:
    """The model as the library builds it at the start of ``fit``."""
    model = kind(
        n_blocks=s.n_layers, n_heads=s.n_heads, n_factors=s.d_model, dropout_rate=s.dropout,
        session_max_len=s.length, batch_size=s.batch, lr=s.learning_rate, loss="softmax",
        recommend_batch_size=s.eval_batch, recommend_torch_device="cpu",
    )  # fmt: skip
    model._build_model_from_dataset(dataset)
    return model


if __name__ == "__main__":
    serve(RecTools)
