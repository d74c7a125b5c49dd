"""A search space, a configuration that searches it, and a stand-in for training whose answer is known."""

import json

from builders import ENVIRONMENT, HASH, _identity

from seqbench.core import provenance, records

NAMES = {ENVIRONMENT["machine"]: ENVIRONMENT["machine_name"]}

SPACE = {
    "n_layers": {"choices": (1, 2)},
    "dropout": {"low": 0.1, "high": 0.5, "step": 0.1},
    "learning_rate": {"low": 0.0003, "high": 0.003, "log": True},
}
PAIRS = tuple(sorted((name, tuple(sorted(rule.items()))) for name, rule in SPACE.items()))
TUNING = {
    "datasets": {"toy": {"source": "synthetic", "k_core": 1, "seq_lens": [10, 20]}},
    "tracks": {"matched": {"hyperparameters": {"d_model": 32}, "training": {"max_steps": 900, "eval_every": 10}}},
    "run": {"datasets": ["toy"], "tracks": ["matched"], "models": ["sasrec", "mamba4rec", "popularity"], "seeds": [0]},
    "tune": {
        "datasets": ["toy"], "rungs": [{"settings": 5, "share": 1}], "training": {"max_steps": 300}, "space": {"n_layers": {"choices": [1, 2]}},
        "spaces": {"mamba4rec": {"d_state": {"choices": [16, 32]}}},
    },
}  # fmt: skip


def value_of(experiment):
    """Best at one block, dropout .4 and a large step."""
    hyper = dict(experiment.hyperparameters)
    return (
        0.1
        - 0.02 * hyper["n_layers"]
        - 0.1 * abs(hyper["dropout"] - 0.4)
        + 5 * experiment.training.learning_rate
    )


def trainer(log, failing=(), value=value_of, machine=ENVIRONMENT["machine"], excluded=None):
    """A training that writes its record at once; numbers in ``failing`` run out of memory. value, excluded: validations."""

    def train(experiment, dataset, out, threads, limit):
        number = int(out.name.removeprefix("trial-"))
        log.append((number, limit))
        ok, kept = number not in failing, value(experiment)
        both = {"kept": {"ndcg@10": kept}, "excluded": {"ndcg@10": excluded(experiment) if excluded else 2 * kept}}  # fmt: skip
        values = {
            "parameters": 100, "steps": 50, "best_step": 40, "stopped": "patience", "targets_seen": 1000,
            "train_s": 2.0, "best_validation": kept,
        }  # fmt: skip
        records.write_record(
            out, kind="train", status="ok" if ok else "oom", reason=None if ok else "too large",
            job=experiment.to_dict(), values=values if ok else {}, environment={**ENVIRONMENT, "machine": machine, "machine_name": NAMES.get(machine, machine)},
            data={"name": "toy", "hash": HASH}, samples=records.columns([{"step": 40, "valid": both}], "curve") if ok else {},
            identity={**_identity(), "code": provenance.training(experiment.model)},
        )  # fmt: skip
        return "ok" if ok else "oom"

    return train


def data(folder, digest=HASH):
    """A prepared dataset as far as tuning reads one."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "data" / "dataset.json").write_text(json.dumps({"hash": digest}))
    return folder / "data"
