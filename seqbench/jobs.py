"""Jobs from the command line: what their JSON says is checked before anything runs, not when its record is written."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, get_args, get_origin, get_type_hints

from .errors import UserError
from .experiment import Measurement
from .record import experiment_problem
from .study import Study


def parse(text: str, name: str) -> dict[str, Any]:
    """A mapping from JSON; ``name``: what it is, for the message.

    Raises:
        UserError: not JSON, a number that is not finite, or no mapping.
    """
    try:
        value = json.loads(text)
        json.dumps(value, allow_nan=False)
    except ValueError as error:
        raise UserError(f"{name}: not JSON ({error}); pass what the workflow prints") from None
    if not isinstance(value, dict):
        raise UserError(
            f"{name} = {text[:40]}: must be a mapping of keys to values; pass what the workflow prints"
        )
    return value


def read(kind: type, text: str) -> Any:
    """A job of a kind (Experiment, Measurement, Study) from its JSON.

    Raises:
        UserError: as ``parse``; a key that is missing or unknown, or a value that the job or its record cannot take.
    """
    name = kind.__name__.lower()
    _complete(kind, parse(text, name), name)
    try:
        job = kind.from_json(text)
    except (AttributeError, TypeError, ValueError) as error:  # a list for a mapping, further down
        raise UserError(
            f"{name}: not as the workflow prints it ({error}); pass what it prints"
        ) from None
    for problem in (_wrong_type(job), _unrecordable(job)):
        if problem:
            raise UserError(f"{name}: {problem}")
    return job


def _complete(kind: type, values: dict[str, Any], name: str) -> None:
    required = (dataclasses.MISSING, dataclasses.MISSING)
    fields = [f for f in dataclasses.fields(kind) if (f.default, f.default_factory) == required]
    missing = [f.name for f in fields if f.name not in values]
    if missing:
        raise UserError(f"{name}: {', '.join(missing)} missing; pass what the workflow prints")


def _unrecordable(job: Any) -> str | None:
    if isinstance(job, Study):
        return experiment_problem(job.experiment({}).to_dict())
    if isinstance(job, Measurement):
        described = (job.for_model(name) for name, _ in job.models)
        return next(filter(None, map(experiment_problem, described)), None)
    return experiment_problem(job.to_dict())


def _wrong_type(job: Any, above: str = "") -> str | None:
    """The first field whose value is not of its type; collections are left to those who read them."""
    for field, kind in get_type_hints(type(job)).items():
        value, key = getattr(job, field), above + field
        if dataclasses.is_dataclass(value):
            problem = _wrong_type(value, f"{key}.")
            if problem:
                return problem
        elif get_origin(kind) is not tuple and not _fits(value, get_args(kind) or (kind,)):
            names = " or ".join(k.__name__ for k in get_args(kind) or (kind,))
            return f"{key} = {value!r}: must be of type {names}"
    return None


def _fits(value: Any, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, bool):  # an int in Python, and not here
        return bool in kinds
    return isinstance(value, (*kinds, int) if float in kinds else kinds)
