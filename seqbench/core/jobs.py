"""Jobs: frozen descriptions of trainings, measurements and studies, as canonical JSON and back.

Loading this module needs the standard library only, so that a Snakemake dry run stays cheap. A job from the command
line is checked before anything runs, not when its record is written.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args, get_origin, get_type_hints

from .errors import UserError

DECIDES = "nothing"

Pairs = tuple[tuple[str, Any], ...]

FULL_LENGTH = (
    "full-length"  # name of the synthetic batches in which every sequence has L real items
)
# What a field meant before it existed. Canonical JSON leaves out a field with this value, and a record without the
# field is read as having it. So a new optional field reruns nothing, and a changed default reruns what it changes.
BEFORE: dict[str, dict[str, Any]] = {
    "Training": {
        "objective": "all-positions", "precision": "fp32", "targets_per_step": 2048, "learning_rate": 0.001,
        "weight_decay": 0.0, "max_steps": 30000, "eval_every": 480, "patience_steps": 4800,
        "select_on": "ndcg@10", "select_seen_items": "kept", "bucket_by_length": True, "eval_batch": 256,
        "kernels": "auto", "compute_all_positions": False, "rank_test": True, "curve_test": False,
        "schedule": "constant", "warmup_steps": 0, "clip_norm": None, "step_counts": "targets", "window_stride": None,
    },
    "TrainingJob": {"hyperparameters": (), "training": None},
    "MeasurementJob": {
        "targets_per_step": 2048, "eval_batch": 256, "rounds": 3, "steps": 10, "warmup": 3, "precision": "fp32",
        "n_items": None, "kernels": "auto", "objective": "all-positions", "compute_all_positions": False, "bucket_by_length": True,
        "curve": None, "budget_s": None, "energy_window_s": 0.0, "clip_norm": None, "step_counts": "targets",
        "clip_norms": (),
    },
}  # fmt: skip
PREDICTIONS, TARGETS = STEP_COUNTS = ("predictions", "targets")
SCHEDULES = ("constant", "linear")  # of the learning rate after its warm-up
# Curves of cost on full-length batches, by what stays constant while something grows.
CURVES = {
    "length-at-constant-tokens": "sequence length at constant tokens per batch",
    "length-at-constant-batch": "sequence length at constant sequences per batch",
    "batch-size": "sequences per batch at constant length",
    "catalogue-size": "items in the catalogue at constant batch",
}


@dataclass(frozen=True)
class Training:
    """How a model is trained and selected. Budgets are counted in optimiser steps, never in epochs."""

    # all-positions: a loss at every position of a window (masked ones for BERT4Rec); prefix: every prefix of a history
    # is a sample with the loss at its last position, as in RecBole
    objective: str = "all-positions"
    precision: str = "fp32"  # fp32 | tf32 | bf16 | mixed: arithmetic of training; on a GPU of scoring's hidden layers too
    targets_per_step: int = 2048  # of these per optimiser step
    # predictions: expected terms of the loss, so a model that masks reads more positions for them; targets: every target of
    # a window, predicted or not. Under objective prefix a target is a prefix, RecBole's unit of a batch.
    step_counts: str = "predictions"
    # items between the ends of two windows of a user; None: seq_len, no window overlaps another. Measurements have none.
    window_stride: int | None = None
    learning_rate: float = 0.001  # Adam; the highest one of a schedule
    # constant | linear: to zero at max_steps, and the last step is the model: no patience, no choice of a step
    schedule: str = "constant"
    warmup_steps: int = 0  # steps in which the learning rate rises linearly
    clip_norm: float | None = None  # gradients of a larger norm are scaled to it; None: never
    weight_decay: float = 0.0  # L2 term of Adam
    max_steps: int = 30000  # the budget: optimiser steps at most
    eval_every: int = 480  # steps between two validations
    patience_steps: int = 4800  # stop after this many steps without a better validation
    select_on: str = "ndcg@10"  # metric on the validation split that picks the best step
    select_seen_items: str = "kept"  # kept | excluded, for the selection
    bucket_by_length: bool = True  # windows of similar length share a batch (less padding)
    eval_batch: int = 256  # users per batch in evaluation
    kernels: str = (
        "auto"  # auto | numba | torch | inductor | eager: what runs between the matrix products
    )
    # whether positions whose outputs nothing reads pass through the last layers too, as in RecBole
    compute_all_positions: bool = False
    rank_test: bool = True  # rank the test split at the end; never while tuning
    curve_test: bool = False  # evaluate the test split at every validation too, for the curve only

    @property
    def decays(self) -> bool:
        """Whether the rate falls to zero at the budget, so that the last step is the model."""
        return self.schedule != "constant"


def within(training: Training, updates: int) -> Training:
    """The same training with another budget: the rate decays over it, after a warm-up of at most a quarter of it.

    The warm-up is no share of the budget, because it settles Adam and the norms, which takes as many updates however long
    the training is.
    """
    warmup = min(training.warmup_steps, updates // 4)
    return dataclasses.replace(
        training,
        max_steps=updates,
        warmup_steps=warmup,
        eval_every=min(training.eval_every, updates),
    )


@dataclass(frozen=True)
class TrainingJob:
    """One training: a model on a dataset at one history length, in one track, with one seed."""

    dataset: str
    model: str
    track: str
    seq_len: int
    seed: int
    hyperparameters: Pairs = ()  # what differs from the defaults of the model's Config
    training: Training = field(default_factory=Training)

    @property
    def path(self) -> str:
        """Folder of the record below the results folder."""
        return f"runs/{self.dataset}/{self.track}/{self.model}/L{self.seq_len}-s{self.seed}"

    def to_dict(self) -> dict[str, Any]:
        """Every field, defaults included."""
        return {**dataclasses.asdict(self), "hyperparameters": dict(self.hyperparameters)}

    def to_json(self) -> str:
        """Canonical JSON without fields whose value is what held before they existed."""
        return _canonical({**non_default(self), "training": non_default(self.training)})

    @classmethod
    def from_json(cls, text: str) -> TrainingJob:
        """Inverse of ``to_json``; also reads ``to_dict`` as JSON.

        Raises:
            UserError: not JSON, or a field that is missing or unknown.
        """
        values = _load(text)
        training = build(Training, as_before(Training, values.pop("training", {})))
        return build(cls, {**values, "hyperparameters": _pairs(values), "training": training})


@dataclass(frozen=True)
class MeasurementJob:
    """One measuring job: all models on one dataset (or full-length synthetic batches), interleaved."""

    dataset: str
    track: str
    seq_len: int
    models: tuple[tuple[str, Pairs], ...]  # (name, hyper-parameters that differ from the defaults)
    targets_per_step: int = 2048  # as in Training; on full-length batches positions
    eval_batch: int = 256  # users per inference batch
    rounds: int = 3  # fresh processes per model
    steps: int = 10  # timed steps per round
    warmup: int = 3  # steps per round that are not counted
    precision: str = "fp32"
    n_items: int | None = None  # catalogue size of full-length batches; None: the dataset's own
    kernels: str = "auto"  # as in Training, like the next three
    objective: str = "all-positions"
    compute_all_positions: bool = False
    bucket_by_length: bool = True
    curve: str | None = None  # of full-length batches: what varies along it, one of CURVES
    budget_s: float | None = None  # seconds of steps per process, after which it takes no more
    energy_window_s: float = (
        0.0  # seconds of further steps for the energy counter (GPU only); 0: none
    )
    clip_norm: float | None = None  # as in Training, like the next
    step_counts: str = "predictions"
    clip_norms: Pairs = ()  # clip_norm of the models that have one of their own

    @property
    def path(self) -> str:
        """Folder below the results folder that holds one record folder per model."""
        size = f"L{self.seq_len}-T{self.targets_per_step}"
        if self.curve:
            size = f"{self.curve}-{size}-V{self.n_items}"
        return f"runs/{self.dataset}/{self.track}/measure/{size}"

    def record_paths(self) -> list[str]:
        """Record folders, one per model."""
        return [f"{self.path}/{name}" for name, _ in self.models]

    def for_model(self, name: str) -> dict[str, Any]:
        """What the record of one model stores as its job."""
        own = self.of(name).to_dict()
        del own["clip_norms"]
        return {**own, "model": name, "hyperparameters": dict(dict(self.models)[name])}

    def of(self, name: str) -> MeasurementJob:
        """The job as one model runs it."""
        own = dict(self.clip_norms).get(name, self.clip_norm)
        return dataclasses.replace(self, clip_norm=own, clip_norms=())

    def to_dict(self) -> dict[str, Any]:
        """Every field, defaults included; the models in the order in which they take turns."""
        norms = dict(self.clip_norms)
        return {**dataclasses.asdict(self), "models": self._models(), "clip_norms": norms}

    def to_json(self) -> str:
        """Canonical JSON without fields whose value is what held before they existed."""
        norms = dict(self.clip_norms)
        return _canonical({**non_default(self), "models": self._models(), "clip_norms": norms})

    def _models(self) -> list[dict[str, Any]]:
        return [{"model": name, "hyperparameters": dict(pairs)} for name, pairs in self.models]

    @classmethod
    def from_json(cls, text: str) -> MeasurementJob:
        """Inverse of ``to_json``.

        Raises:
            UserError: not JSON, or a field that is missing or unknown.
        """
        values = _load(text)
        models = tuple((m["model"], _pairs(m)) for m in values.pop("models", []))
        norms = tuple(sorted(dict(values.pop("clip_norms", ())).items()))
        return build(cls, {**as_before(cls, values), "models": models, "clip_norms": norms})


def filled(job: Mapping[str, Any]) -> dict[str, Any]:
    """A record's job; fields that did not exist when it was made have the value that held then."""
    training = job.get("training")
    if training is None:
        own = as_before(MeasurementJob, job)
        return {key: value for key, value in own.items() if key != "clip_norms"}  # of one model
    return {**job, "training": as_before(Training, training)}


def as_before(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a job; optional fields that are not among them have the value that held before they existed."""
    defaults = {
        f.name: before(cls, f)
        for f in dataclasses.fields(cls)
        if f.default is not dataclasses.MISSING and f.name not in values
    }
    return {**values, **defaults}


def before(cls: type, f: dataclasses.Field) -> Any:
    """What a field of ``cls`` meant before it existed: its default as long as ``BEFORE`` says nothing else."""
    return BEFORE[cls.__name__].get(f.name, f.default)


# --- canonical JSON ---------------------------------------------------------------------------------------------


def _canonical(values: Mapping[str, Any]) -> str:
    return json.dumps(
        {k: v for k, v in values.items() if v != {}}, sort_keys=True, separators=(",", ":")
    )


def non_default(obj: Any) -> dict[str, Any]:
    """Fields of a job whose value is not what held before they existed."""
    values = {}
    for f in dataclasses.fields(obj):
        value = getattr(obj, f.name)
        if value != before(type(obj), f):
            values[f.name] = dict(value) if f.name == "hyperparameters" else value
    return values


def _load(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"job: not JSON ({error}); pass one job of results/grid.json") from None
    return {k: v for k, v in values.items() if k not in ("path", "records")}


def _pairs(values: Mapping[str, Any]) -> Pairs:
    return tuple(sorted(values.get("hyperparameters", {}).items()))


def _named(cls: type) -> str:
    """A class in words: training job, measurement job, training, study."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", cls.__name__).lower()


def build(cls: type, values: Mapping[str, Any]) -> Any:
    """Make a dataclass from a mapping.

    Raises:
        UserError: a key that is unknown or missing.
    """
    known = {f.name: f for f in dataclasses.fields(cls)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise UserError(f"{_named(cls)}: unknown key {unknown[0]!r}; allowed: {', '.join(known)}")
    try:
        return cls(**values)
    except TypeError as error:
        raise UserError(f"{_named(cls)}: {error}") from None


# What a space may name besides hyper-parameters, and a model may have of its own in a track.
TRAINING_KEYS = ("learning_rate", "weight_decay", "clip_norm")
ALWAYS = frozenset({"seed", "hyperparameters"})  # in canonical JSON, whatever they are
TUNE_TRACK = "tune"  # of the trials' records


@dataclass(frozen=True)
class Study:
    """The search for one model on one dataset, chosen on validation by successive halving; the test split is never ranked."""

    dataset: str
    model: str
    seq_len: int
    rungs: tuple[
        tuple[int, float], ...
    ]  # settings, and the share of the budget that each trains for
    space: tuple[tuple[str, Pairs], ...]  # name -> choices, or low, high, step or log
    seed: int = 0  # of the sampler and of every trial that it proposes
    hyperparameters: Pairs = ()  # of the first trial, and of all for what the space leaves out
    training: Training = field(default_factory=Training)  # budget and settings of a trial
    rerun_seeds: tuple[int, ...] = ()  # of the settings of the last rung, besides `seed`

    @property
    def path(self) -> str:
        """Folder of the study below the results folder; one folder per trial is in it."""
        return f"tune/{self.dataset}/{self.model}/L{self.seq_len}"

    def trial_path(self, number: int) -> str:
        """Folder of one trial's record below the results folder."""
        return f"{self.path}/trial-{number:03d}"

    def training_job(
        self, chosen: Mapping[str, Any], seed: int | None = None, share: float = 1.0
    ) -> TrainingJob:
        """The training of a trial: what was chosen over what all trials share, within a share of the budget. seed: else the study's."""
        training = {k: v for k, v in chosen.items() if k in TRAINING_KEYS}
        hyper = {k: v for k, v in chosen.items() if k not in TRAINING_KEYS}
        return TrainingJob(
            self.dataset, self.model, TUNE_TRACK, self.seq_len, self.seed if seed is None else seed,
            tuple(sorted({**dict(self.hyperparameters), **hyper}.items())),
            dataclasses.replace(self._within(share), rank_test=False, curve_test=False, **training),
        )  # fmt: skip

    def start(self) -> dict[str, Any]:
        """The first trial: the settings before tuning; what of them lies outside the space is drawn."""
        settings = {**dataclasses.asdict(self.training), **dict(self.hyperparameters)}
        return {
            name: settings[name]
            for name, rule in self.space
            if name in settings and _holds(dict(rule), settings[name])
        }

    def _within(self, share: float) -> Training:
        return self.training if share == 1 else within(self.training, max(1, round(self.training.max_steps * share)))  # fmt: skip

    def jobs(self) -> list[tuple[int, int, float]]:
        """Every training at most: its rung, seed and share of the budget. What a rung below trained alike is not trained again."""
        found = []
        for rung, (settings, share) in enumerate(self.rungs):
            last = rung and rung == len(self.rungs) - 1
            fresh = not rung or share != self.rungs[rung - 1][1]
            seeds = (*((self.seed,) if fresh else ()), *(self.rerun_seeds if last else ()))
            found += [(rung, seed, share) for _ in range(settings) for seed in seeds]
        return found

    @property
    def trainings(self) -> int:
        """How many trainings the whole study has."""
        return len(self.jobs())

    @property
    def full_trainings(self) -> float:
        """What they cost in trainings of the whole budget."""
        return sum(share for *_, share in self.jobs())

    def to_json(self) -> str:
        """Canonical JSON without fields at their defaults."""
        values = {
            f.name: value
            for f in dataclasses.fields(self)
            if (value := getattr(self, f.name)) != f.default or f.name in ALWAYS
        }
        values["hyperparameters"] = dict(self.hyperparameters)
        values["space"] = {name: dict(rule) for name, rule in self.space}
        values["training"] = non_default(self.training)
        return json.dumps(values, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Study:
        """Inverse of ``to_json``.

        Raises:
            UserError: not JSON, or a field that is missing or unknown.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise UserError(f"study: not JSON ({error}); pass what the workflow prints") from None
        values["hyperparameters"] = tuple(sorted(values.get("hyperparameters", {}).items()))
        values["space"] = space_of(values.get("space", {}))
        values["training"] = build(Training, as_before(Training, values.get("training", {})))
        for name in {"rungs", "rerun_seeds"} & values.keys():
            values[name] = _frozen(values[name])
        for rung in values.get("rungs", ()):
            if not (isinstance(rung, tuple) and len(rung) == 2 and rung[0] >= 1 and 0 < rung[1] <= 1):  # fmt: skip
                raise UserError(f"study: rungs = {rung!r}: must be settings and a share of the budget; pass what the workflow prints")  # fmt: skip
        return build(cls, values)


def space_of(space: Mapping[str, Mapping[str, Any]]) -> tuple[tuple[str, Pairs], ...]:
    """A search space as a study holds it: pairs instead of mappings, in a fixed order."""
    pairs = {
        name: tuple(sorted((k, _frozen(v)) for k, v in rule.items()))
        for name, rule in space.items()
    }
    return tuple(sorted(pairs.items()))


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _holds(rule: Mapping[str, Any], value: Any) -> bool:
    if "choices" in rule:
        return value in rule["choices"]
    return value is not None and rule["low"] <= value <= rule["high"]


def parse(text: str, name: str) -> dict[str, Any]:
    """A mapping from JSON; ``name``: what it is, for the message.

    Raises:
        UserError: not JSON, a number that is not finite, or no mapping.
    """
    try:
        value = json.loads(text)
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name}: not JSON ({error}); pass what the workflow prints") from None
    if not isinstance(value, dict):
        raise UserError(
            f"{name} = {text[:40]}: must be a mapping of keys to values; pass what the workflow prints"
        )
    return value


def check_complete(kind: type, values: dict[str, Any], name: str) -> None:
    """Refuse a job without a field that it needs."""
    required = (dataclasses.MISSING, dataclasses.MISSING)
    fields = [f for f in dataclasses.fields(kind) if (f.default, f.default_factory) == required]
    missing = [f.name for f in fields if f.name not in values]
    if missing:
        raise UserError(f"{name}: {', '.join(missing)} missing; pass what the workflow prints")


def wrong_type(job: Any, above: str = "") -> str | None:
    """The first field whose value is not of its type; collections are left to those who read them."""
    for name, kind in get_type_hints(type(job)).items():
        value, key = getattr(job, name), above + name
        if dataclasses.is_dataclass(value):
            problem = wrong_type(value, f"{key}.")
            if problem:
                return problem
        elif get_origin(kind) is not tuple and not _fits(value, get_args(kind) or (kind,)):
            names = " or ".join(k.__name__ for k in get_args(kind) or (kind,))
            return f"{key} = {value!r}: must be of type {names}"
    return None


def bad_schedule(training: Training) -> str | None:
    """The key and value of a training that no learning rate and no window can follow, with the remedy."""
    t = training
    if t.schedule not in SCHEDULES:
        return f"schedule = {t.schedule!r}: allowed: {', '.join(SCHEDULES)}"
    if t.warmup_steps < 0:
        return f"warmup_steps = {t.warmup_steps}: must be at least 0"
    if t.warmup_steps >= t.max_steps:
        return f"warmup_steps = {t.warmup_steps}: must be below max_steps = {t.max_steps}; lower it"
    if t.window_stride is not None and (t.window_stride < 1 or t.objective == "prefix"):
        return f"window_stride = {t.window_stride}: must be at least 1, and null under objective prefix"
    if t.clip_norm is not None and t.clip_norm <= 0:
        return f"clip_norm = {t.clip_norm}: must be greater than 0, or null for no clipping"
    return None


def _fits(value: Any, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, bool):  # an int in Python, and not here
        return bool in kinds
    return isinstance(value, (*kinds, int) if float in kinds else kinds)
