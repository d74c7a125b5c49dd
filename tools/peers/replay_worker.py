"""Worker: RePlay's SasRec (``replay.nn``), trained from Parquet by its Lightning module in Lightning's own loop."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tools.peers.interactions import TEST, VALIDATION, Flat, open_flat
from tools.peers.protocol import Settings, Stages, serve, versions

DIFFERS = [
    "only the last 200 targets of a user train (older items are dropped); every sequence padded to 200",
    "LayerNorm in front, ReLU, dropout on attention probabilities and inside the feed-forward network",
    "a dense attention mask per sequence and head",
    "a user's first item is a target too where the history is shorter than 200, from padding alone",
    "the file is read at the start of every epoch, not while loading",
    "Adam with betas (0.9, 0.98)",
]
ITEM, USER = "item_id", "user_id"


class RePlay:
    """The library's SasRec and its data module over two files of sequences."""

    def __init__(self, settings: Settings) -> None:
        stages = Stages()
        with stages.time("import"):
            import torch

            _import_library()
        torch.set_num_threads(settings.threads)
        torch.manual_seed(0)
        with stages.time("convert"):
            flat, folder = open_flat(settings.data), Path(tempfile.mkdtemp())
            n_items = int(flat.items.max())
            train = _written(flat, VALIDATION, folder / "train.parquet")
            history = _written(flat, TEST, folder / "history.parquet")
        with stages.time("load"):
            schema = _schema(settings, n_items)
            self.data = _data(settings, schema, n_items, train, history)
            self.module = _module(settings, schema)
        self.facts = {
            "seconds": stages.seconds,
            "parameters": sum(p.numel() for p in self.module.parameters()),
            "n_items": n_items,
            "versions": versions("replay-rec", "torch", "numpy", "pandas", "lightning"),
            "evaluates": "top 10 items of every user from all scores, seen items kept",
            "differs": DIFFERS,
        }

    def train(self, done: Callable[[int], bool]) -> None:
        """Fit; the clock stops the loop behind a batch."""
        from lightning import Callback

        class Stop(Callback):
            def on_train_batch_end(
                self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
            ) -> None:
                trainer.should_stop = not done(int(batch["target_padding_mask"].sum()))

        _trainer(Stop()).fit(self.module, datamodule=self.data)

    def evaluate(self) -> int:
        """Top 10 of all users from all items, by the library's own callback."""
        from replay.nn.lightning.callback import PandasTopItemsCallback

        top = PandasTopItemsCallback(top_k=10, query_column=USER, item_column=ITEM)
        _trainer(top).predict(self.module, datamodule=self.data, return_predictions=False)
        return int(top.get_result()[USER].nunique())


def _import_library() -> None:
    """Import what the functions below use, so that their times do not hold it."""
    import replay.data.nn
    import replay.nn.lightning.optimizer
    import replay.nn.sequential
    import replay.nn.transform.template  # noqa: F401


def _data(s: Settings, schema: Any, n_items: int, train: str, history: str) -> Any:
    """The library's data module with the transforms that it makes for SasRec."""
    from replay.data.nn import ParquetModule
    from replay.nn.transform.template import make_default_sasrec_transforms

    return ParquetModule(
        batch_size={"train": s.batch, "predict": s.eval_batch},
        metadata=_metadata(s, n_items),
        transforms=make_default_sasrec_transforms(schema),
        train_path=train,
        predict_path=history,
    )


def _module(s: Settings, schema: Any) -> Any:
    """The library's SasRec with its cross-entropy over all items, in its Lightning module."""
    from replay.nn.lightning import LightningModule
    from replay.nn.lightning.optimizer import OptimizerFactory
    from replay.nn.sequential import SasRec

    model = SasRec.from_params(
        schema, embedding_dim=s.d_model, num_heads=s.n_heads, num_blocks=s.n_layers,
        max_sequence_length=s.length, dropout=s.dropout, hidden_dim=s.d_inner,
    )  # fmt: skip
    return LightningModule(model, optimizer_factory=OptimizerFactory(learning_rate=s.learning_rate))


def _trainer(callback: Any) -> Any:
    from lightning import Trainer

    return Trainer(
        max_epochs=10**6, callbacks=[callback], limit_val_batches=0, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        accelerator="cpu", devices=1,
    )  # fmt: skip


def _written(flat: Flat, place: int, path: Path) -> str:
    """A Parquet file with one row per user: what comes before ``place``. Items count from 0 in it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    chosen, counts = flat.before(place), flat.counts(place)
    ends = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    items = pa.ListArray.from_arrays(ends, flat.items[chosen].astype(np.int64) - 1)
    pq.write_table(pa.table({USER: np.arange(len(counts)), ITEM: items}), path)
    return str(path)


def _metadata(s: Settings, n_items: int) -> dict[str, Any]:
    """Shapes of the columns; the training rows hold one more item, because targets are the items shifted by one."""
    return {
        "train": {USER: {}, ITEM: {"shape": s.length + 1, "padding": n_items}},
        "predict": {USER: {}, ITEM: {"shape": s.length, "padding": n_items}},
    }


def _schema(s: Settings, n_items: int) -> Any:
    from replay.data import FeatureHint, FeatureSource, FeatureType
    from replay.data.nn import TensorFeatureInfo, TensorFeatureSource, TensorSchema

    return TensorSchema(
        TensorFeatureInfo(
            ITEM, is_seq=True, feature_type=FeatureType.CATEGORICAL, cardinality=n_items,
            padding_value=n_items, embedding_dim=s.d_model, feature_hint=FeatureHint.ITEM_ID,
            feature_sources=[TensorFeatureSource(FeatureSource.INTERACTIONS, ITEM)],
        )
    )  # fmt: skip


if __name__ == "__main__":
    serve(RePlay)
