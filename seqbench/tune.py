"""Tuning: Optuna proposes, a supervised worker trains, validation decides; every trial is a record.

The sampler (TPE, Bergstra et al. 2011) is seeded and told its trials in order, so a study that was interrupted proposes the
same again and takes the records that are there. Torch-free: it only supervises.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from . import code
from . import record as records
from .errors import UserError
from .experiment import Experiment, Training, filled
from .run import End, machines, record_failure, supervise
from .study import TRAINING_KEYS, Study
from .tidy import Entry

SUMMARY = "study.json"
Train = Callable[[Experiment, Path, Path, int, float | None], str]


def tune(
    study: Study,
    dataset: Path,
    out: Path,
    threads: int,
    time_limit_s: float | None,
    train: Train = supervise,
) -> dict[str, Any]:
    """Run all trials of a study, write `study.json` into ``out`` and return its content.

    time_limit_s: of the whole study; a trial gets its share and is a record with status timeout when that ends.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(
        seed=study.seed, n_startup_trials=max(4, study.trials // 3)
    )
    search = optuna.create_study(direction="maximize", sampler=sampler)
    if study.start():
        search.enqueue_trial(study.start())
    limit = time_limit_s and time_limit_s / study.trials
    (out / SUMMARY).unlink(missing_ok=True)  # until the end there is no winner
    trials = []
    for number in range(study.trials):
        asked = search.ask()
        chosen = {name: _suggest(asked, name, dict(rule)) for name, rule in study.space}
        found = _trial(study, number, chosen, dataset, out, threads, limit, train)
        trials.append(found)
        if found["value"] is None:  # counts as a trial: a model that fails has used its share
            search.tell(asked, state=optuna.trial.TrialState.FAIL)
        else:
            search.tell(asked, found["value"])
        _say(study, trials)
    content = summary(study, trials)
    records.write_atomically(
        out / SUMMARY, json.dumps(content, indent=1, sort_keys=True).encode() + b"\n"
    )
    return content


def _suggest(trial: Any, name: str, rule: Mapping[str, Any]) -> Any:
    if "choices" in rule:
        return trial.suggest_categorical(name, list(rule["choices"]))
    whole = all(isinstance(rule[key], int) for key in ("low", "high", "step") if key in rule)
    suggest = trial.suggest_int if whole else trial.suggest_float
    options = {key: rule[key] for key in ("step", "log") if key in rule}
    value = suggest(name, rule["low"], rule["high"], **options)
    if whole or not value:
        return value
    return round(value, max(6, 2 - math.floor(math.log10(abs(value)))))  # three digits at least


def _trial(
    study: Study, number: int, chosen: dict[str, Any], dataset: Path, out: Path, threads: int,
    limit: float | None, train: Train,
) -> dict[str, Any]:  # fmt: skip
    experiment, folder = study.experiment(chosen), out / Path(study.trial_path(number)).name
    if not _is_there(folder, experiment, dataset):
        try:
            train(experiment, dataset, folder, threads, limit)
        except UserError as error:
            if (
                number == 0
            ):  # the settings before tuning: nothing that was proposed here is to blame
                raise
            why = f"{' '.join(f'{k} = {v}' for k, v in chosen.items())}: {error}"
            record_failure(experiment, dataset, folder, threads, End("crashed", why))
        (folder / "weights.safetensors").unlink(
            missing_ok=True
        )  # a trial is made for its validation
    record = records.read_record(folder)
    values = record["values"]
    return {
        "number": number, "chosen": chosen, "status": record["status"], "value": validation(record),
        **{key: values.get(key) for key in ("steps", "best_step", "stopped", "targets_seen", "train_s", "parameters")},
    }  # fmt: skip


def _is_there(folder: Path, experiment: Experiment, dataset: Path) -> bool:
    """Whether a trial of an earlier call can be taken: same settings, code, data and machine, and it did not crash."""
    try:
        record = records.read_record(folder)
    except UserError:  # none, or one that cannot be read
        return False
    facts, sources = dataset / "dataset.json", code.training_sources(experiment.model)
    known = json.loads(facts.read_text(encoding="utf-8"))["hash"] if facts.exists() else None
    return (
        filled(record["experiment"]) == experiment.to_dict()
        and record["code"]["hash"] == code.identity(sources)["hash"]
        and record["data"]["hash"] == known
        and record["environment"]["machine"] in machines()
        and record["status"] != "crashed"
    )


def validation(record: Mapping[str, Any]) -> float | None:
    """Best value of the metric that the training is selected by; None unless it came to its end."""
    training = filled(record["experiment"])["training"]
    if record["status"] != "ok":
        return None
    masking, metric = training["select_masking"], training["select_on"]
    return max(
        (point["valid"][masking][metric] for point in record["values"]["curve"]), default=None
    )


def summary(study: Study, trials: list[dict[str, Any]]) -> dict[str, Any]:
    """What a study found: the trials, the best one, and what the search cost."""
    values = [t["value"] for t in trials if t["value"] is not None]
    best = max(
        (t for t in trials if t["value"] is not None), key=lambda t: t["value"], default=None
    )
    return {
        "schema": 1, "study": json.loads(study.to_json()), "trials": trials,
        "best": best and best["number"], "default": trials[0]["value"] if len(study.start()) == len(study.space) else None,
        "median": statistics.median(values) if values else None,
        "train_s": sum(t["train_s"] or 0 for t in trials), "targets_seen": sum(t["targets_seen"] or 0 for t in trials),
    }  # fmt: skip


def settings(content: Mapping[str, Any]) -> dict[str, Any]:
    """What the winner of a study differs in, for the configuration, with where it comes from."""
    best = content["trials"][content["best"]]
    chosen = best["chosen"]
    training = {k: chosen[k] for k in TRAINING_KEYS if k in chosen}
    return {
        "hyperparameters": {k: v for k, v in chosen.items() if k not in TRAINING_KEYS},
        **({"training": training} if training else {}),
        "tuning": {
            "seq_len": content["study"]["seq_len"], "trials": len(content["trials"]),
            "failed": sum(t["value"] is None for t in content["trials"]),
            "max_steps": content["study"]["training"].get("max_steps", Training().max_steps),
            "metric": content["study"]["training"].get("select_on", Training().select_on),
            "best": round(best["value"], 6), "trial": best["number"], "median": round(content["median"], 6),
            "default": content["default"] and round(content["default"], 6), "train_s": round(content["train_s"], 1),
        },
    }  # fmt: skip


def _say(study: Study, trials: list[dict[str, Any]]) -> None:
    last, values = trials[-1], [t["value"] for t in trials if t["value"] is not None]
    value = f"{last['value']:.4f}" if last["value"] is not None else last["status"]
    best = f"{max(values):.4f}" if values else "none"
    words = ", ".join(
        f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in last["chosen"].items()
    )
    print(
        f"tune {study.dataset} {study.model}: trial {len(trials)} of {study.trials}: {value} (best {best}): {words}",
        file=sys.stderr, flush=True,
    )  # fmt: skip


def entries(folder: Path, content: Mapping[str, Any]) -> list[Entry]:
    """The records of a study's trials below ``folder``, in order."""
    study = Study.from_json(json.dumps(content["study"]))
    paths = [study.trial_path(t["number"]) for t in content["trials"]]
    return [Entry(path, folder, records.read_record(folder / path)) for path in paths]
