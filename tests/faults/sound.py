"""What must hold of a results folder after a kill, and in what it may differ from that of a run which nobody killed."""

import fcntl
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import load_file

from seqbench.core import records, store
from seqbench.core.errors import UserError
from seqbench.data import open_dataset
from seqbench.report import publish

# What a clock or the memory of a process says, or what follows from it.
OF_CLOCK = re.compile(
    r"(^|_)(s|seconds|bytes|evaluate_s|j)(_low|_high|_best)?$|^(resumed_from|path|epoch_s|command)$|^(memory|quality|train|cost)_"
)
OF_COSTS = {"scaling", "crossovers", "costs", "cost_ratios", "time_to_quality", "answers", "advice", "claims", "paper", "warnings", "efficiency"}  # fmt: skip
COUNTED = {"parameters", "flops", "operators", "saved_bytes", "moved_bytes"}
VALUES_OF_CLOCK = {
    "train_s",
    "evaluate_s",
    "first_step_after_s",
    "compile_s",
    "peak_rss_bytes",
    "resumed_from",
}
ENDS = {
    ".html": b"</html>", ".svg": b"</svg>", ".pdf": b"%%EOF", ".png": b"IEND\xaeB`\x82", ".csv": b"\n", ".md": b"\n", ".txt": b"\n",
}  # fmt: skip


def problems(work, twin, leases):
    """What is wrong, in lines: files that are half there, records that a reader would take wrongly, locks that somebody holds."""
    found = [f"{path.relative_to(work)}: {why}" for path in files(work) if (why := broken(path))]
    for path in work.rglob("record.json"):
        found += refused(
            lambda path=path: records.check_files(path.parent, records.read_record(path.parent))
        )
    for path in (work / "results/data").glob("[!.]*/dataset.json"):
        found += refused(lambda path=path: open_dataset(path.parent))
        found += refused(
            lambda path=path: store._check_data(
                path.parent, store.read_dataset(work / "results", path.parent.name)
            )
        )
    for path in [*work.rglob("*.lock"), *leases.rglob("*.lock")]:
        if ".snakemake" not in path.parts and held(path):
            found.append(f"{path}: is held")
    raw, whole = work / "data/ml-100k.zip", twin / "data/ml-100k.zip"
    if raw.exists() and raw.read_bytes() != whole.read_bytes():
        found.append("the download is another file")
    reference = work / "results/reference"
    was = [*reference.glob("*/"), *reference.parent.glob(".publish-*/.moved/*")]
    if was and not publish._machines(reference):
        found.append("a published machine is gone")
    return found


def files(work):
    """What somebody may read: no state of Snakemake, no log, nothing under a name of passage."""
    for path in work.rglob("*"):
        inner = path.relative_to(work).parts
        passing = any(part.startswith(".") for part in inner) or "logs" in inner
        if path.is_file() and not passing and path.suffix not in (".part", ".damaged", ".pt"):
            yield path


def broken(path):
    """Why a file is not whole, or None."""
    try:
        content = path.read_bytes()
        if path.suffix in ENDS and not content.rstrip(b"\n ").endswith(ENDS[path.suffix].rstrip()):
            return "is cut"
        if path.suffix == ".json":
            json.loads(content)
        elif path.suffix == ".parquet":
            pd.read_parquet(path)
        elif path.suffix in (".npy", ".npz"):
            np.load(path)
        elif path.suffix == ".safetensors":
            load_file(path)
        elif path.suffix == ".zip" and zipfile.ZipFile(path).testzip():
            return "is cut"
        return None if content or path.stat().st_size or path.suffix == ".lock" else "is empty"
    except FileNotFoundError:
        return None
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def refused(read):
    try:
        read()
    except UserError as error:
        return [str(error)]
    return []


def held(path):
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def differences(one, other):
    """In what two finished folders differ, but for times; lines."""
    found = []
    names = [{str(p.relative_to(w)) for p in files(w)} for w in (one, other)]
    for side, which in (("too much", names[0] - names[1]), ("missing", names[1] - names[0])):
        found += [
            f"{side}: {name}" for name in sorted(which) if not name.startswith("results/grid")
        ]
    found += [
        f"left: {p.relative_to(one)}"
        for p in one.rglob(".*")
        if p.suffix in (".tmp", ".lock")
        or re.match(r"\.(publish|tiny|report|tables|reference)-", p.name)
    ]
    for name in sorted(names[0] & names[1]):
        found += compared(one / name, other / name, name)
    return found


def compared(a, b, name):
    path = Path(name)
    if path.name == "dataset.json":
        one, other = (json.loads(p.read_text()) for p in (a, b))
        for facts in (
            one,
            other,
        ):  # a file that a killed run downloaded is there when the next one looks
            facts["provenance"]["url"] = facts["sha256"] = None
        return [] if one == other else [f"{name}: differs"]
    if name.startswith("results/data/") or path.suffix in (".safetensors", ".zip"):
        return [] if a.read_bytes() == b.read_bytes() else [f"{name}: other bytes"]
    if path.name == "record.json":
        return of_records(a, b, name)
    if path.name == "study.json":
        one, other = (json.loads(p.read_text(), object_hook=timeless) for p in (a, b))
        return [] if one == other else [f"{name}: differs"]
    if path.suffix == ".npz":
        return of_samples(a, b, name)
    if path.suffix == ".parquet":
        return of_tables(a, b, name)
    return []


def timeless(facts):
    return {key: value for key, value in facts.items() if not OF_CLOCK.search(key)}


def of_records(a, b, name):
    one, other = (json.loads(p.read_text()) for p in (a, b))
    found = [
        f"{name}: {k}"
        for k in ("job", "kind", "status", "reason", "data", "identity", "weights_sha256")
        if one.get(k) != other.get(k)
    ]
    keys = (
        ("counts", "missing", "failed")
        if one["kind"] == "measure"
        else one["values"].keys() - VALUES_OF_CLOCK
    )
    return found + [
        f"{name}: values.{k}" for k in keys if one["values"].get(k) != other["values"].get(k)
    ]


def of_samples(a, b, name):
    found, (one, other) = [], (records.unpacked(p.read_bytes()) for p in (a, b))
    if one.keys() != other.keys():
        return [f"{name}: other arrays"]
    timed = "/measure/" in name
    for key in one:
        same = one[key].shape == other[key].shape
        if same and not timed and not OF_CLOCK.search(key.split("/")[-1]):
            same = np.array_equal(one[key], other[key], equal_nan=one[key].dtype.kind == "f")
        found += [] if same else [f"{name}: {key}"]
    return found


def of_tables(a, b, name):
    one, other = (pd.read_parquet(p) for p in (a, b))
    if list(one) != list(other):
        return [f"{name}: other columns"]
    table = Path(name).stem
    if table in OF_COSTS:
        if table != "efficiency":
            return []
        one, other = (f[f.metric.isin(COUNTED)] for f in (one, other))
    if len(one) != len(other):
        return [f"{name}: {len(one)} rows for {len(other)}"]
    columns = [c for c in one if not OF_CLOCK.search(c)]
    return [
        f"{name}: {c}"
        for c in columns
        if not one[c]
        .astype(object)
        .reset_index(drop=True)
        .equals(other[c].astype(object).reset_index(drop=True))
    ]
