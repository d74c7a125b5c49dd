"""RecBole's run on a file, and our data prepared from the same file."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from sides import HEADER, LENGTH, MADE, PYTHON, REAL, Both, rows_made_up, rows_of_movielens

from seqbench.data import open_dataset, prepare


@pytest.fixture(scope="session", params=["made-up", "ml-100k"])
def both(request, tmp_path_factory) -> Both:
    """Run RecBole on a file and prepare the same file."""
    if not MADE.exists():
        pytest.skip(
            "RecBole's environment is not made: `make parity` makes it and runs these tests"
        )
    if request.param == "ml-100k" and not REAL.exists():
        pytest.skip(f"{REAL.name} is not here (SEQBENCH_REAL_DATA names its folder)")
    rows = rows_of_movielens() if request.param == "ml-100k" else rows_made_up()
    folder = tmp_path_factory.mktemp(request.param)
    file = folder / "toy" / "toy.inter"
    file.parent.mkdir()
    file.write_text(HEADER + "".join("\t".join(row) + "\n" for row in rows))
    side = Path(__file__).with_name("recbole_side.py")
    done = subprocess.run(
        [PYTHON, side, folder, "toy", str(LENGTH)], capture_output=True, text=True,
        env={**os.environ, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1", "PYTHONWARNINGS": "ignore"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(folder / "recbole.npz") as arrays:
        theirs = {name: arrays[name] for name in arrays.files}
    ours = {}
    for order in ("file", "float32"):
        local = {"path": str(file), "format": "inter"}
        block = {"source": "file", "k_core": 5, "order": order, "local": local}
        out = folder / "data" / order
        prepare("toy", block, folder, out)
        ours[order] = open_dataset(out)
        for kind in ("user", "item"):
            ours[order].info[f"{kind}_ids"] = (out / f"{kind}_ids.txt").read_text().split("\n")[:-1]
    return Both(theirs, json.loads((folder / "recbole.json").read_text()), ours)
