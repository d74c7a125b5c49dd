"""Stands in for ``seqbench.cli``: writes each verb's outputs at once, so that tests watch the workflow only.

Every job that ends well appends a line to ``jobs.log``: verb, what it is about, start and end. A training of the model, or
preparing the dataset, named in SEQBENCH_STUB_FAIL fails. A training of the model in SEQBENCH_STUB_HANG never ends. That of the
model in SEQBENCH_STUB_LONG ends by the deadline, if there is one.
"""

import hashlib
import json
import os
import sys
import time
from pathlib import Path

from seqbench.core import deadline
from seqbench.core.display import TABLES
from seqbench.core.processes import end_with_who_asked

options = dict(zip(sys.argv[2::2], sys.argv[3::2], strict=False))
verb = sys.argv[1]
tables = [f"{name}.{kind}" for name in TABLES for kind in ("csv", "parquet")]
tables += ["datasets.json", "settings.json"]


TEXT = f"{verb} {sys.argv[2:]}\n"
ABOUT = dict.fromkeys(["machine", "machine_name", "python"], "x") | {
    "device_kind": "cpu",
    "packages": {},
}
RECORD = {
    "schema": 2, "kind": "train", "status": "ok", "reason": None, "load": None, "deadline_s": None, "values": {},
    "job": {"dataset": "x", "model": "x", "track": "x", "seq_len": 2, "hyperparameters": {}},
    "identity": {"code": "x", "revision": None, "dirty": None}, "data": {"name": "x", "hash": None},
    "environment": ABOUT | dict.fromkeys(["device", "cpu", "n_cpus", "memory_bytes", "os", "driver", "threads"]),
    "samples": {"file": "samples.npz", "sha256": hashlib.sha256(TEXT.encode()).hexdigest(), "arrays": []},
}  # fmt: skip


def write(folder, *names):
    for name in names:
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(RECORD) if name == "record.json" else TEXT)


end_with_who_asked()
start = time.monotonic()
about = ""
if verb == "prepare":
    about = options["--name"]
    if about == os.environ.get("SEQBENCH_STUB_FAIL"):
        sys.exit(f"error: {about} cannot be downloaded; put it into data/")
    arrays = ("items.npy", "offsets.npy", "rows.npy", "users.npz")
    write(options["--out"], "dataset.json", *arrays, "user_ids.txt", "item_ids.txt")
elif verb == "run":
    about = options["--out"]
    if f"/{os.environ.get('SEQBENCH_STUB_FAIL')}/" in about:
        sys.exit("error: as asked")
    if f"/{os.environ.get('SEQBENCH_STUB_HANG')}/" in about:
        Path("hanging").write_text(str(os.getpid()))
        time.sleep(600)
    if f"/{os.environ.get('SEQBENCH_STUB_LONG')}/" in about and deadline.given():
        time.sleep(max(deadline.left_s(), 0))
        print(f"error: {deadline.Over(about)}", file=sys.stderr)
        sys.exit(deadline.STATUS)
    write(about, "record.json", "samples.npz", "weights.safetensors")
elif verb == "measure":
    about = next(value for value in sys.argv if value.startswith("results/runs"))
    for name in (m["model"] for m in json.loads(options["--job"])["models"]):
        write(Path(about) / name, "record.json", "samples.npz")
elif verb == "grid":
    write(".", options["--out"])
elif verb == "collect":
    write(options["--out"], *tables)
elif verb == "report":
    write(options["--out"], "index.html", "figures/pareto.svg", "tables/effectiveness.csv")
if verb in ("run", "measure"):
    time.sleep(0.1)
with Path("jobs.log").open("a") as log:
    log.write(f"{verb}\t{about}\t{start}\t{time.monotonic()}\n")
