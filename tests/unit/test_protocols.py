"""Protocols: which datasets are variants of which, Kendall's tau by hand, and what the report shows of them."""

import numpy as np
import pandas as pd
import pytest

from seqbench.analysis import protocols
from seqbench.data import filtering, variants

pytestmark = pytest.mark.slow

MODELS = ("popularity", "gru4rec", "sasrec", "mamba4rec")
PROVENANCE = {
    "file": "u.data",
    "sha256": "f" * 64,
    "url": None,
    "substitute_file": None,
    "terms": None,
    "citation": None,
}
FACTS = {"source": "ml-100k", "k_core": 5, "provenance": PROVENANCE, "oracle": None}
VARIANTS = {
    "toy": {},
    "toy-0": {"order_variant": "seed:0"},
    "toy-1": {"order_variant": "seed:1"},
    "toy-f": {"order_variant": "float32", "order_changes": {"users": 400, "test": 40, "validation": 50, "swapped": 30}},
    "toy-t": {"split": {"kind": "temporal", "valid_from": 5, "test_from": 9, "training_events": 7,
                        "users": {"valid": 3, "test": 4}, "unseen_targets": {"test": 0.1}, "new_users": {"test": 0.2}}},
    "other": {"k_core": 3},
}  # fmt: skip
NAMES = {
    "toy": "leave-one-out", "toy-0": "ties shuffled, seed 0", "toy-1": "ties shuffled, seed 1",
    "toy-f": "float32 clock", "toy-t": "temporal split",
}  # fmt: skip


def facts(**changes):
    return {**FACTS, **changes}


def test_variants_share_their_file_and_k_core():
    datasets = {name: facts(**changes) for name, changes in VARIANTS.items()}
    assert variants.variants(datasets) == {n: "toy" for n in VARIANTS if n.startswith("toy-")}
    found = {
        (p.dataset, p.seen_items): p.name
        for p in variants.protocols_of(datasets)
        if p.base == "toy"
    }
    expected = {(dataset, "kept"): name for dataset, name in NAMES.items()}
    assert found == {**expected, ("toy", "excluded"): "seen items excluded"}


def test_two_temporal_splits_have_two_names():
    split = VARIANTS["toy-t"]["split"]
    shares = {
        "toy": {},
        "toy-1": {"split": {**split, "holdout": 0.1}},
        "toy-2": {"split": {**split, "holdout": 0.2}},
    }
    found = variants.protocols_of({name: facts(**changes) for name, changes in shares.items()})
    assert {p.dataset: p.name for p in found if p.dataset != "toy"} == {
        "toy-1": "temporal split", "toy-2": "temporal split, 0.2 held out",
    }  # fmt: skip


def test_other_files_and_generated_data_are_no_variants():
    elsewhere = {**PROVENANCE, "sha256": "e" * 64}
    generated = {**PROVENANCE, "sha256": None}
    datasets = {
        "a": facts(), "b": facts(provenance=elsewhere, order_variant="seed:0"),
        "c": facts(provenance=generated), "d": facts(provenance=generated, order_variant="float32"),
    }  # fmt: skip
    assert variants.variants(datasets) == {}


def summary_row(dataset, model, mean, seen_items="kept"):
    return {
        "dataset": dataset, "model": model, "track": "t", "seq_len": 5, "seen_items": seen_items, "ties": "conservative",
        "metric": "ndcg@10", "n_seeds": 1, "mean": mean, "std": None, "ci_low": mean, "ci_high": mean,
    }  # fmt: skip


def made(datasets, summary, comparisons):
    """Rows of both tables."""
    found = protocols.summarise(datasets, *(pd.DataFrame(rows) for rows in (summary, comparisons)))
    return [frame.to_dict("records") for frame in found]


def test_tau_swapped_and_contradicted_pairs_by_hand():
    """1 2 3 4 against 1 3 2 4: one of six pairs discordant, tau = (5 - 1) / 6."""
    models = "abcd"
    rows = [summary_row("toy", m, k) for k, m in enumerate(models)]
    rows += [summary_row("toy-t", m, k) for m, k in zip(models, (0, 2, 1, 3), strict=True)]
    datasets = {name: facts(**VARIANTS[name]) for name in ("toy", "toy-t")}
    pair = {
        "track": "t",
        "seq_len": 5,
        "metric": "ndcg@10",
        "seen_items": "kept",
        "model_a": "b",
        "model_b": "c",
        "trained_seeds": 3,
    }
    for verdicts, contradicted in (
        (("worse", "better"), 1),
        (("worse", "inconclusive"), 0),
        (("worse", "worse"), 0),
    ):
        comparisons = [
            {**pair, "dataset": d, "verdict": v} for d, v in zip(datasets, verdicts, strict=True)
        ]
        values, (row,) = made(datasets, rows, comparisons)
        assert (row["tau"], row["swapped"], row["pairs"]) == (pytest.approx(4 / 6), 1, 6)
        assert (row["swapped_pairs"], row["contradicted"], row["n_models"]) == (
            "b / c",
            contradicted,
            4,
        )
    one_seed = [pair | {"dataset": "toy", "verdict": "worse"}]
    one_seed.append(pair | {"dataset": "toy-t", "verdict": "better", "trained_seeds": 1})
    _, (row,) = made(datasets, rows, one_seed)
    assert (row["swapped"], row["contradicted"]) == (1, 0), "one seed establishes nothing"
    assert len(values) == 8 and {v["protocol"] for v in values} == {
        "leave-one-out",
        "temporal split",
    }


def test_two_models_have_no_tau():
    datasets = {name: facts(**VARIANTS[name]) for name in ("toy", "toy-t")}
    rows = [summary_row(d, m, k) for d in datasets for k, m in enumerate("ab")]
    _, (row,) = made(datasets, rows, [])
    assert row["tau"] is None and row["swapped"] == 0


def test_what_an_order_changes_by_hand():
    """Users of 2, 3, 4 and 3 events: only the last three are evaluated."""
    offsets = np.array([0, 2, 5, 9, 12])
    variant = np.array([1, 0, 2, 4, 3, 8, 5, 6, 7, 9, 10, 11])
    found = filtering.changes(offsets, variant)
    assert found == {"users": 3, "test": 2, "validation": 2, "swapped": 1}
