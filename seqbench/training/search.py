"""Tuning: Optuna proposes, a supervised worker trains, validation decides; every trial is a record.

The search halves (arXiv 1603.06560): many settings train for a share of the budget, the best of them for a larger one, each
time anew with a rate that decays over it. One training says little about settings that train with one seed and not with the
next, so those of the last rung have several seeds, of which the best mean wins. There is a winner per treatment of seen
items from the same trials. The sampler (TPE, Bergstra et al. 2011) is seeded and told its trials in order, so a study that was
interrupted proposes the same again and takes the records that are there, also those of another machine. Torch-free.
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
from ..core.metrics import SEEN_ITEMS
from ..core.store import Entry
from ..hardware.leases import machines
from .supervisor import End, record_failure, supervise

SUMMARY = "study.json"
COLLAPSED = 0.5  # of the best training of the same settings, below which a seed has not learnt
Train = Callable[[TrainingJob, Path, Path, int, float | None], str]
Trial = dict[str, Any]


def tune(
    study: Study,
    dataset: Path,
    out: Path,
    threads: int,
    time_limit_s: float | None,
    train: Train = supervise,
) -> dict[str, Any]:
    """Run all trials of a study, write `study.json` into ``out`` and return its content.

    time_limit_s: of the whole study; a trial gets its share of the budget's and is a record with status timeout when that ends.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    settings, first_share = study.rungs[0]
    sampler = optuna.samplers.TPESampler(seed=study.seed, n_startup_trials=max(4, settings // 3))
    search = optuna.create_study(direction="maximize", sampler=sampler)
    if study.start():
        search.enqueue_trial(study.start())
    (out / SUMMARY).unlink(missing_ok=True)  # until the end there is no winner
    trials: list[Trial] = []

    def trial(chosen: Mapping[str, Any], seed_of: int, share: float, **about: Any) -> Trial:
        limit = time_limit_s and time_limit_s * share / study.full_trainings
        job = study.training_job(chosen, seed_of, share)
        found = _trial(study, job, len(trials), chosen, dataset, out, threads, limit, train)
        trials.append({**found, "share": share, **about})
        _say(study, trials)
        return trials[-1]

    for _ in range(settings):
        asked = search.ask()
        chosen = {name: _suggest(asked, name, dict(rule)) for name, rule in study.space}
        found = trial(chosen, study.seed, first_share)
        if found["value"] is None:  # counts as a trial: a model that fails has used its share
            search.tell(asked, state=optuna.trial.TrialState.FAIL)
        else:
            search.tell(asked, found["value"])
    before = list(trials)
    for rung in range(1, len(study.rungs)):
        seeds = {seed: share for at, seed, share in study.jobs() if at == rung}
        best = promoted(before, study.rungs[rung][0])
        there = [] if study.seed in seeds else [trials[number] for number in best]
        begun = len(trials)
        for number in [first_of(trials[n]) for n in best]:
            for seed, share in seeds.items():
                trial(trials[number]["chosen"], seed, share, repeats=number, seed=seed)
        before = [*there, *trials[begun:]]
    content = summary(study, trials, before)
    records.write_atomically(
        out / SUMMARY, json.dumps(content, indent=1, sort_keys=True).encode() + b"\n"
    )
    return content


def first_of(trial: Mapping[str, Any]) -> int:
    """Number of the trial of the first rung that has the same settings: what settings go by."""
    return trial.get("repeats", trial["number"])


def promoted(trials: list[Trial], settings: int) -> list[int]:
    """Numbers of the trials whose settings go on: by turns the best with seen items kept and with seen items excluded."""
    ended = [t for t in trials if t["value"] is not None]
    orders = [sorted(ended, key=lambda t: (-t[seen], t["number"])) for seen in SEEN_ITEMS]
    best: dict[str, int] = {}  # a small space proposes some twice
    for at in zip(*orders, strict=True):
        for trial in at:
            best.setdefault(json.dumps(trial["chosen"], sort_keys=True), trial["number"])
    return list(best.values())[:settings]


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
    study: Study, job: TrainingJob, number: int, chosen: Mapping[str, Any], dataset: Path, out: Path, threads: int,
    limit: float | None, train: Train,
) -> Trial:  # fmt: skip
    folder = out / Path(study.trial_path(number)).name
    if not _is_there(folder, job, dataset):
        try:
            train(job, dataset, folder, threads, limit)
        except UserError as error:
            # The machine, or the settings before tuning: nothing that was proposed here is to blame.
            if number == 0 or isinstance(error, MachineError):
                raise
            why = f"{' '.join(f'{k} = {v}' for k, v in chosen.items())}: {error}"
            record_failure(job, dataset, folder, threads, End("crashed", why))
    # A trial is made for its validation; an interrupted search may have left them beside the record.
    (folder / "weights.safetensors").unlink(missing_ok=True)
    record = records.read_record(folder)
    values = record["values"]
    return {
        "number": number, "chosen": dict(chosen), "status": record["status"], "value": validation(record), **_validations(folder, record),
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


def _validations(folder: Path, record: Mapping[str, Any]) -> dict[str, float | None]:
    """By treatment of seen items the metric of selection at the step whose weights are the model."""
    if record["status"] != "ok":
        return dict.fromkeys(SEEN_ITEMS)
    samples, metric = records.read_samples(folder, record), record["job"]["training"]["select_on"]
    at = list(samples["curve/step"]).index(record["values"]["best_step"])
    return {seen: float(samples[f"curve/valid/{seen}/{metric}"][at]) for seen in SEEN_ITEMS}


def summary(study: Study, trials: list[Trial], last: list[Trial]) -> dict[str, Any]:
    """What a study found: the trials, the winners, and what the search cost. last: the trials of its last rung.

    best: by treatment of seen items the settings of the best mean over seeds, of those of which every seed came to its end and
    learnt; without any the best of all trials. collapsed: trials of the last rung that did not learn, which disqualify.
    """
    first = [t["value"] for t in trials if "repeats" not in t and t["value"] is not None]
    collapsed = [t["number"] for t in last if _has_collapsed(t, trials)]
    best: dict[str, int | None] = {}
    for seen in SEEN_ITEMS:
        means = {
            number: statistics.fmean(values)
            for number, values in by_seed(last, seen).items()
            if None not in values and not any(first_of(trials[n]) == number for n in collapsed)
        }
        ended = [t for t in trials if t["value"] is not None]
        means = means or {first_of(t): t[seen] for t in sorted(ended, key=lambda t: t["share"])}
        best[seen] = max(means, key=lambda number: means[number]) if means else None
    return {
        "schema": 2, "study": json.loads(study.to_json()), "trials": trials, "last": [t["number"] for t in last],
        "best": best, "collapsed": collapsed, "default": trials[0]["value"] if len(study.start()) == len(study.space) else None,
        "median": statistics.median(first) if first else None,
        "train_s": sum(t["train_s"] or 0 for t in trials), "targets_seen": sum(t["targets_seen"] or 0 for t in trials),
    }  # fmt: skip


def _has_collapsed(trial: Trial, trials: list[Trial]) -> bool:
    """Whether a training came to its end far below another one of the same settings, of a smaller budget say."""
    own = [t["value"] for t in trials if first_of(t) == first_of(trial) and t["value"] is not None]
    return trial["value"] is not None and trial["value"] < COLLAPSED * max(own)


def by_seed(last: list[Trial], seen: str) -> dict[int, list[float | None]]:
    """Validations of what could win, the settings of the last rung, by number of their first trial."""
    found: dict[int, list[float | None]] = {}
    for trial in last:
        found.setdefault(first_of(trial), []).append(trial[seen])
    return found


def settings(content: Mapping[str, Any], seen: str) -> dict[str, Any]:
    """The winner's settings as `selected_settings` has them, with the search that chose them."""
    trials, study, number = content["trials"], content["study"], content["best"][seen]
    chosen = trials[number]["chosen"]
    training = {k: chosen[k] for k in TRAINING_KEYS if k in chosen}
    last = [trials[n] for n in content["last"]] if len(study["rungs"]) > 1 else []
    searched = [t for t in trials if "repeats" not in t]
    first = [t[seen] for t in searched if t[seen] is not None]
    return {
        "hyperparameters": {k: v for k, v in chosen.items() if k not in TRAINING_KEYS},
        **({"training": training} if training else {}),
        "tuning": {
            "seq_len": study["seq_len"], "rungs": study["rungs"], "trials": len(searched), "seen_items": seen,
            "failed": sum(t["value"] is None for t in searched),
            "max_steps": study["training"].get("max_steps", Training().max_steps),
            "metric": study["training"].get("select_on", Training().select_on),
            "best": round(trials[number][seen], 6), "trial": number, "median": round(statistics.median(first), 6),
            "default": content["default"] and round(trials[0][seen], 6), "train_s": round(content["train_s"], 1),
            "seed": study["seed"], "rerun_seeds": study.get("rerun_seeds", []), "collapsed": len(content["collapsed"]),
            "finals": [
                {"trial": n, "values": [v and round(v, 6) for v in values]}
                for n, values in by_seed(last, seen).items()
            ],
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
        f" (trial {last['repeats'] + 1} again, seed {last['seed']}, {last['share']:g} of the budget)" if "repeats" in last else ""
    )  # fmt: skip
    print(
        f"tune {study.dataset} {study.model} L{study.seq_len}: trial {len(trials)} of {study.trainings}{again}: {value} (best {best}): {words}",
        file=sys.stderr, flush=True,
    )  # fmt: skip


def entries(folder: Path, content: Mapping[str, Any]) -> list[Entry]:
    """The records of a study's trials below ``folder``, in order."""
    study = Study.from_json(json.dumps(content["study"]))
    paths = [study.trial_path(t["number"]) for t in content["trials"]]
    return [Entry(path, folder, records.read_record(folder / path)) for path in paths]
