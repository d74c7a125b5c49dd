"""Worker: RecBole's SASRec, trained by its own data loader and trainer: one prefix of a history per target."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tools.peers.interactions import frame, open_flat
from tools.peers.protocol import Settings, Stages, serve, versions

DIFFERS = [
    "one sequence of up to 200 items per target (prefixes), not one loss at every position",
    "a step has 256 targets, so it updates the weights more often",
    "plain attention with dropout on its probabilities",
    "evaluation in batches of 256 users, not of its default 4,096",
]
COLUMNS = ("user_id:token", "item_id:token", "timestamp:float")
NAME = "prepared"


class RecBole:
    """The library's SASRec, its trainer and its data, written as a file that it reads."""

    def __init__(self, settings: Settings) -> None:
        stages = Stages()
        with stages.time("import"):
            import torch
            from recbole.config import Config
            from recbole.data import create_dataset, data_preparation
            from recbole.model.sequential_recommender import SASRec
            from recbole.trainer import Trainer
        torch.set_num_threads(settings.threads)
        with stages.time("convert"):
            os.chdir(_written(settings.data))  # the library leaves logs where it is started
        with stages.time("load"):
            config = Config(model="SASRec", dataset=NAME, config_dict=_config(settings))
            dataset = create_dataset(config)
            self.data, _, self.test = data_preparation(config, dataset)
            torch.manual_seed(0)
            model = SASRec(config, self.data.dataset)
            self.trainer = Trainer(config, model)
        self.users = dataset.user_num - 1
        self.facts = {
            "seconds": stages.seconds,
            "parameters": sum(p.numel() for p in model.parameters()),
            "n_items": dataset.item_num - 1,
            "versions": versions("recbole", "torch", "numpy", "pandas", "ray"),
            "evaluates": "scores of all items, top 10 and its metrics, seen items kept",
            "differs": DIFFERS,
        }

    def train(self, done: Callable[[int], bool]) -> None:
        """The trainer's epochs, until the clock ends the data."""
        data = Interruptible(self.data, done)
        while not data.ended:
            self.trainer._train_epoch(data, 0, show_progress=False)

    def evaluate(self) -> int:
        """Full ranking of all users' test items."""
        self.trainer.evaluate(self.test, load_best_model=False, show_progress=False)
        return self.users


class Interruptible:
    """A data loader that reports a step when the next batch is asked for, and ends when told to."""

    def __init__(self, loader: Any, done: Callable[[int], bool]) -> None:
        self.loader, self.done = loader, done
        self.ended = False

    def __iter__(self) -> Iterator[Any]:
        for batch in self.loader:
            yield batch
            if not self.done(len(batch)):
                self.ended = True
                return


def _written(data: str) -> Path:
    """A temporary folder with the interactions as RecBole's file; the place in the history is their time."""
    import numpy as np

    folder = Path(tempfile.mkdtemp())
    flat = open_flat(data)
    (folder / NAME).mkdir()
    everything = frame(flat, np.ones(len(flat.items), dtype=bool), COLUMNS)
    everything.to_csv(folder / NAME / f"{NAME}.inter", sep="\t", index=False)
    return folder


def _config(s: Settings) -> dict[str, Any]:
    return {
        "data_path": ".",
        "load_col": {"inter": [name.split(":")[0] for name in COLUMNS]},
        "eval_args": {
            "split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full",
        },
        "MAX_ITEM_LIST_LENGTH": s.length,
        "train_neg_sample_args": None,
        "loss_type": "CE",
        "n_layers": s.n_layers,
        "n_heads": s.n_heads,
        "hidden_size": s.d_model,
        "inner_size": s.d_inner,
        "hidden_dropout_prob": s.dropout,
        "attn_dropout_prob": s.dropout,
        "learning_rate": s.learning_rate,
        "train_batch_size": s.batch,
        "eval_batch_size": s.eval_batch,
        "metrics": ["Hit", "NDCG", "MRR"],
        "topk": [10],
        "valid_metric": "NDCG@10",
        "use_gpu": False,
        "show_progress": False,
    }  # fmt: skip


if __name__ == "__main__":
    serve(RecBole)
