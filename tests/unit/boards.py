"""Hand-made tables of the answer: a leaderboard of two machines, and rows of `answers`."""

import pandas as pd
from builders import ENVIRONMENT, REPORT

from seqbench.analysis.collect import Tables

GPU = {"device": "NVIDIA Test", "device_kind": "cuda", "machine_name": "gpu-box"}
MISSING = float("nan")
COSTS = ("epoch_s", "inference_s", "quality_s", "train_s")


def board_row(model="mamba4rec", **changes):
    """One row of `leaderboard`: a trained model on a CPU that measured everything on the dataset itself."""
    base = {
        "dataset": "ml-1m", "seq_len": 200, "track": "matched", "seen_items": "kept", "machine_name": "test-machine",
        "device_kind": "cpu", "model": model, "focal": model == "mamba4rec", "trained": True, "ndcg": 0.15, "ndcg_low": 0.14,
        "ndcg_high": 0.16, "hr": 0.28, "mrr": 0.11, "n_seeds": 3, "ndcg_best": False, "memory_bytes": MISSING,
        "memory_best": False, "energy_j": MISSING, "reached": True, "cost_source": "dataset", "warnings": "",
        "standing": "open", "loss_high": MISSING, "advised": False,
    }  # fmt: skip
    for name, value in zip(COSTS, (44.0, 1.44, 374.0, 900.0), strict=True):
        base |= {name: value, f"{name}_low": 0.98 * value, f"{name}_high": 1.02 * value, f"{name}_best": False}  # fmt: skip
    return base | changes


def baseline(**changes):
    """A row of a model without training."""
    without = {f"{name}{end}": MISSING for name in COSTS for end in ("", "_low", "_high")}
    return board_row("popularity", trained=False, ndcg=0.01, n_seeds=1, reached=None, cost_source=MISSING) | without | changes  # fmt: skip


def answer_row(place="quality", variant="above", **numbers):
    """One row of `answers`; numbers: a, b, c as pairs of value and how it is read."""
    row = {
        "place": place, "variant": variant, "focal": "mamba4rec", "comparator": "sasrec", "dataset": "ml-1m", "seq_len": 200,
        "track": "matched", "machine_name": "test-machine", "device_kind": "cpu",
        "machine_b": MISSING, "basis": MISSING, "basis_b": MISSING,
    }  # fmt: skip
    for slot in "abc":
        row[slot], row[f"{slot}_as"] = numbers.get(slot, (MISSING, MISSING))
    return row


def advice_row(variant="open", **changes):
    """One row of `advice`: Mamba4Rec is taken, SASRec is cheaper and open."""
    row = {
        "dataset": "ml-1m", "seq_len": 200, "track": "matched", "seen_items": "kept", "machine_name": "test-machine",
        "device_kind": "cpu", "variant": variant, "best": "mamba4rec", "ndcg": 0.15, "model": "mamba4rec", "inference_s": 1.44,
        "other": "sasrec", "other_s": 0.674, "loss_high": 0.091,
    }  # fmt: skip
    return row | changes


def tables(board=(), answers=(), warnings=(), advice=()):
    """Tables with these rows, of two machines."""
    frames = {
        "leaderboard": pd.DataFrame(list(board)),
        "answers": pd.DataFrame(list(answers)),
        "advice": pd.DataFrame(list(advice)),
        "warnings": pd.DataFrame(list(warnings)),
        "experiments": pd.DataFrame(),
    }
    environments = [ENVIRONMENT | {"records": 1}, ENVIRONMENT | GPU | {"records": 1}]
    return Tables(frames, {}, REPORT | {"environments": environments})
