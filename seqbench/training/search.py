"""Tuning: Optuna proposes, a supervised worker trains, validation decides; every trial is a record.

The sampler (TPE, Bergstra et al. 2011) is seeded and told its trials in order, so a study that was interrupted proposes the
same again and takes the records that are there, also those of another machine. One training says little about settings that
train with one seed and not with the next: a study can end with finals, the best settings again with further seeds, of which
the best mean wins. Torch-free: it only supervises.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..core import provenance, records
from ..core.errors import MachineError, UserError
from ..core.jobs import TRAINING_KEYS, Study, Training, TrainingJob
from ..core.store import Entry
from ..hardware.leases import machines
from .supervisor import End, record_failure, supervise

SUMMARY = "study.json"
Train = Callable[[TrainingJob, Path, Path, int, float | None], str]


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
    limit = time_limit_s and time_limit_s / study.trainings
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
    for first, seed in finals(study, trials):
        again = {"repeats": first["number"], "seed": seed}
        found = _trial(
            study, len(trials), first["chosen"], dataset, out, threads, limit, train, seed
        )
        trials.append({**found, **again})
        _say(study, trials)
    content = summary(study, trials)
    records.write_atomically(
        out / SUMMARY, json.dumps(content, indent=1, sort_keys=True).encode() + b"\n"
    )
    return content


def finals(study: Study, trials: list[dict[str, Any]]) -> list[tuple[dict[str, Any], int]]:
    """What is trained after the search: its best settings, best first, each with every further seed."""
    ended = [t for t in trials if t["value"] is not None]
    best: list[dict[str, Any]] = []
    for trial in sorted(ended, key=lambda t: (-t["value"], t["number"])):
        if trial["chosen"] not in [t["chosen"] for t in best]:  # a small space proposes some twice
            best.append(trial)
    return [(trial, seed) for trial in best[: study.rerun_top_k] for seed in study.rerun_seeds]


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
    limit: float | None, train: Train, seed: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    job, folder = study.training_job(chosen, seed), out / Path(study.trial_path(number)).name
    if not _is_there(folder, job, dataset):
        try:
            train(job, dataset, folder, threads, limit)
        except UserError as error:
            # The machine, or the settings before tuning: nothing that was proposed here is to blame.
            if number == 0 or isinstance(error, MachineError):
                raise
            why = f"{' '.join(f'{k} = {v}' for k, v in chosen.items())}: {error}"
            record_failure(job, dataset, folder, threads, End("crashed", why))
        (folder / "weights.safetensors").unlink(
            missing_ok=True
        )  # a trial is made for its validation
    record = records.read_record(folder)
    values = record["values"]
    return {
        "number": number, "chosen": chosen, "status": record["status"], "value": validation(record),
        **{key: values.get(key) for key in ("steps", "best_step", "stopped", "targets_seen", "train_s", "parameters")},
    }  # fmt: skip


def _is_there(folder: Path, job: TrainingJob, dataset: Path) -> bool:
    """Whether a trial of an earlier call can be taken: same settings, code and data, and it came to its end.

    Wherever it was trained, as for every other quality here; but what one machine has no memory or time for, this one may.
    """
    try:
        record = records.read_record(folder)
    except UserError:  # none, or one that cannot be read
        return False
    facts = dataset / "dataset.json"
    known = json.loads(facts.read_text(encoding="utf-8"))["hash"] if facts.exists() else None
    asked = job.to_dict(), provenance.training(job.model), [known]
    if record["status"] == "ok":
        return records.matches(record, *asked)
    return record["status"] != "crashed" and records.matches(record, *asked, machines())


def validation(record: Mapping[str, Any]) -> float | None:
    """Best value of the metric that the training is selected by; None unless it came to its end."""
    return record["values"]["best_validation"] if record["status"] == "ok" else None


def summary(study: Study, trials: list[dict[str, Any]]) -> dict[str, Any]:
    """What a study found: the trials, the best one, and what the search cost.

    The best: of those whose every final came to its end, that of the best mean; without one, the best trial of the search.
    """
    values = [t["value"] for t in trials if t["value"] is not None and "repeats" not in t]
    means = {
        number: statistics.fmean(found)
        for number, found in by_seed(trials).items()
        if None not in found
    }
    best = max(means, key=lambda number: means[number]) if means else None
    if best is None and values:
        best = next(t["number"] for t in trials if t["value"] == max(values))
    return {
        "schema": 1, "study": json.loads(study.to_json()), "trials": trials,
        "best": best, "default": trials[0]["value"] if len(study.start()) == len(study.space) else None,
        "median": statistics.median(values) if values else None,
        "train_s": sum(t["train_s"] or 0 for t in trials), "targets_seen": sum(t["targets_seen"] or 0 for t in trials),
    }  # fmt: skip


def by_seed(trials: list[dict[str, Any]]) -> dict[int, list[float | None]]:
    """The values of what could win, by number of the trial in the search, the study's own seed first.

    With finals only those that were in them, the best of the search first; else every trial that came to its end, alone.
    """
    again = dict.fromkeys(t["repeats"] for t in trials if "repeats" in t)
    numbers = again or [t["number"] for t in trials if t["value"] is not None]
    return {
        n: [trials[n]["value"], *(t["value"] for t in trials if t.get("repeats") == n)]
        for n in numbers
    }


def settings(content: Mapping[str, Any]) -> dict[str, Any]:
    """The winner's settings as `selected_settings` has them, with the search that chose them."""
    best = content["trials"][content["best"]]
    chosen = best["chosen"]
    training = {k: chosen[k] for k in TRAINING_KEYS if k in chosen}
    study, searched = content["study"], [t for t in content["trials"] if "repeats" not in t]
    rerun_top_k = study.get("rerun_top_k", 0)
    again = {
        "rerun_top_k": rerun_top_k, "rerun_seeds": study["rerun_seeds"],
        "finals": [
            {"trial": n, "values": [v and round(v, 6) for v in values]}
            for n, values in by_seed(content["trials"]).items()
        ],
    } if rerun_top_k else {}  # fmt: skip
    return {
        "hyperparameters": {k: v for k, v in chosen.items() if k not in TRAINING_KEYS},
        **({"training": training} if training else {}),
        "tuning": {
            "seq_len": study["seq_len"], "trials": len(searched),
            "failed": sum(t["value"] is None for t in searched),
            "max_steps": study["training"].get("max_steps", Training().max_steps),
            "metric": study["training"].get("select_on", Training().select_on),
            "best": round(best["value"], 6), "trial": best["number"], "median": round(content["median"], 6),
            "default": content["default"] and round(content["default"], 6), "train_s": round(content["train_s"], 1),
            "seed": study["seed"], **again,
        },
    }  # fmt: skip


def _say(study: Study, trials: list[dict[str, Any]]) -> None:
    last, values = trials[-1], [t["value"] for t in trials if t["value"] is not None]
    value = f"{last['value']:.4f}" if last["value"] is not None else last["status"]
    best = f"{max(values):.4f}" if values else "none"
    words = ", ".join(
        f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in last["chosen"].items()
    )
    again = (
        f" (trial {last['repeats'] + 1} again, seed {last['seed']})" if "repeats" in last else ""
    )
    print(
        f"tune {study.dataset} {study.model}: trial {len(trials)} of {study.trainings}{again}: {value} (best {best}): {words}",
        file=sys.stderr, flush=True,
    )  # fmt: skip


def entries(folder: Path, content: Mapping[str, Any]) -> list[Entry]:
    """The records of a study's trials below ``folder``, in order."""
    study = Study.from_json(json.dumps(content["study"]))
    paths = [study.trial_path(t["number"]) for t in content["trials"]]
    return [Entry(path, folder, records.read_record(folder / path)) for path in paths]
