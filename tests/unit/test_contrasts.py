"""Contrasts of a model with itself: what a longer history adds, and what excluding seen items adds."""

import numpy as np
import pytest
from builders import SEEDS, THREE, grid, plan, samples, training, write_training
from frames import tables_of

from seqbench.analysis.tidy import ranks_of
from seqbench.core.metrics import per_user

pytestmark = pytest.mark.slow


def lengths(results, shift):
    """Two lengths; the ranks of the longer one are better by `shift`."""
    wanted = grid(
        [training(model=m, seed=s, seq_len=n) for n in (50, 200) for m in THREE for s in SEEDS]
    )

    def change():
        for entry in wanted["trainings"]:
            if entry["seq_len"] == 200:
                arrays = samples(entry["model"], entry["seed"])
                for name in ("valid/rank", "test/rank"):  # one seen item ranks above the target
                    arrays[name] = np.maximum(arrays[name] - np.int32(shift), 2)
                write_training(results, entry, arrays=arrays)

    return tables_of(results, wanted, change)


def gained(model, shift):
    """What ranks that are better by `shift` add to a model's NDCG@10 with seen items kept, mean over seeds."""
    ranks = [samples(model, s)["test/rank"] for s in SEEDS]
    return np.mean([
        per_user(np.maximum(r - shift, 2), "ndcg@10").mean() - per_user(r, "ndcg@10").mean() for r in ranks
    ])  # fmt: skip


def test_what_a_longer_history_adds_is_paired_over_users(tmp_path):
    tables = lengths(tmp_path, 2)
    frame = tables.frames["contrasts"]
    row = frame[(frame.contrast == "length") & (frame.model == "sasrec") & (frame.metric == "ndcg@10")
                & (frame.seen_items == "kept")].iloc[0]  # fmt: skip
    added = gained("sasrec", 2)
    assert row.difference == pytest.approx(added)
    assert row.ci_low < added < row.ci_high
    unpaired = tables.frames["summary"]
    unpaired = unpaired[(unpaired.model == "sasrec") & (unpaired.metric == "ndcg@10")
                        & (unpaired.seen_items == "kept") & (unpaired.ties == "conservative")]  # fmt: skip
    assert row.ci_high - row.ci_low < (unpaired.ci_high - unpaired.ci_low).min()


def test_equal_lengths_have_a_contrast_around_zero(tmp_path):
    frame = lengths(tmp_path, 0).frames["contrasts"]
    rows = frame[frame.contrast == "length"]
    assert len(rows) == len(THREE) * 2 * 3  # models, treatments of seen items, metrics
    assert (rows.difference == 0).all()
    assert (rows.ci_low <= 0).all()
    assert (rows.ci_high >= 0).all()


def test_what_excluding_adds_is_paired_over_users_and_trainings(tmp_path):
    tables = tables_of(tmp_path, plan())
    frame = tables.frames["contrasts"]
    row = frame[(frame.contrast == "seen_items") & (frame.model == "mamba4rec") & (frame.metric == "ndcg@10")].iloc[0]  # fmt: skip
    added = np.mean([
        per_user(ranks_of(samples("mamba4rec", s), "test", "excluded")[0], "ndcg@10").mean()
        - per_user(samples("mamba4rec", s)["test/rank"], "ndcg@10").mean()
        for s in SEEDS
    ])  # fmt: skip
    assert row.difference == pytest.approx(added)
