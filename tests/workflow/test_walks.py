"""What an addition touches: each is made in a copy of the checkout and runs to the page, and its files are counted.

A small real run comes first, so that additions find older records. Its settings are the user's own file `config/walk.yaml`.
"""

import hashlib
import json

import numpy as np
import pandas as pd
import pytest
import yaml
from flow import copy_checkout, snakemake

from seqbench.core.metrics import per_user

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

CONFIG = "config/walk.yaml"
BASE = {
    "datasets": {
        "tiny": {
            "source": "synthetic",
            "k_core": 1,
            "seq_lens": [8],
            "synthetic": {"n_users": 200, "n_items": 40, "mean_length": 12},
        }
    },
    "tracks": {
        "matched": {"training": {"max_steps": 20, "warmup_steps": 10, "eval_every": 10, "patience_steps": 20, "targets_per_step": 256}}
    },
    "run": {"datasets": ["tiny"], "tracks": ["matched"], "models": ["sasrec"], "seeds": [0]},
    "measure": {
        "models": ["sasrec"], "n_items": 40, "rounds": 1, "steps": 2, "warmup": 1, "on_datasets": ["tiny"],
        "scaling": {
            "length_at_constant_tokens": {"seq_lens": []}, "length_at_constant_batch": {"seq_lens": []},
            "batch_size": {"sequences": []}, "catalogue_size": {"n_items": []},
        },
    },
    "report": {"focal_model": "sasrec"},
}  # fmt: skip

SMALL = '''"""A stranger's model: the mean of the items so far, mixed once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import SequenceModel

label = "Running mean"


@dataclass(frozen=True)
class Config:
    """Hyper-parameters."""

    d_model: int = 64  # width of the embeddings
    dropout: float = 0.2  # on the embedding


class Model(SequenceModel):
    """Running means of item vectors, for histories of up to max_len items."""

    def __init__(self, config: Config, n_items: int, max_len: int):
        super().__init__()
        self.items = nn.Embedding(n_items + 1, config.d_model, padding_idx=0)
        self.mix, self.dropout = nn.Linear(2 * config.d_model, config.d_model), config.dropout

    def hidden(self, items: Tensor) -> Tensor:
        """(B, L) -> (B, L, D)."""
        x = F.dropout(self.items(items), self.dropout, self.training)
        seen = torch.arange(1, items.shape[1] + 1, device=items.device)[:, None]
        return self.mix(torch.cat([x, x.cumsum(1) / seen], dim=-1))

    def item_table(self) -> Tensor:
        """(V, D)."""
        return self.items.weight
'''

SOURCE = """
    "lines": Source(
        (Origin("https://example.org/lines.csv", "lines.csv", "amazon-ratings", MIB, "{sha256}"),),
        {{}},
        "unix",
        "free",
        "nobody",
    ),
}}
"""


class House:
    """A checkout to change and a folder to run it in; remembers which files every addition touched."""

    def __init__(self, folder):
        self.checkout, self.work = copy_checkout(folder / "checkout"), folder / "work"
        self.touched = {}
        self.work.mkdir()
        self.write(None, CONFIG, yaml.safe_dump(BASE))

    def write(self, addition, file, text):
        """A new file of the checkout."""
        (self.checkout / file).write_text(text, encoding="utf-8")
        self.touched.setdefault(addition, set()).add(file)

    def edit(self, addition, file, old, new):
        """One change of a file of the checkout."""
        text = (self.checkout / file).read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{file} has {old!r} {text.count(old)} times"
        self.write(addition, file, text.replace(old, new))

    def configure(self, addition, change):
        """A change of the configuration."""
        file = self.checkout / CONFIG
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
        change(config)
        self.write(addition, CONFIG, yaml.safe_dump(config))

    def snakemake(self, *arguments):
        """Ask the workflow for the report; return the jobs by rule."""
        config = self.checkout / CONFIG
        done = snakemake(self.checkout, self.work, "report", "--cores", "2", *arguments, "--configfile", config)  # fmt: skip
        assert done.status == 0, done.text
        return done.jobs

    def plan(self):
        """Jobs by rule that a run would have."""
        return self.snakemake("-n")

    def report(self):
        """Run to the page; return the jobs by rule, and the page."""
        return self.snakemake(), (self.work / "report" / "index.html").read_text(encoding="utf-8")

    def table(self, name):
        return pd.read_csv(self.work / "results" / "tables" / f"{name}.csv")

    def records(self, below=""):
        return sorted((self.work / "results" / "runs" / below).rglob("record.json"))


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    house = House(tmp_path_factory.mktemp("walks"))
    house.report()
    assert len(house.records()) == 2  # a training and a measurement
    return house


def test_a_quality_metric_is_one_entry_and_appears_for_old_records(house):
    old = [file.stat().st_mtime_ns for file in house.records()]
    house.edit("metric", "seqbench/core/display.py", '"mrr@10")', '"mrr@10", "ndcg@20")')
    jobs, page = house.report()
    assert house.touched["metric"] == {"seqbench/core/display.py"}
    assert not set(jobs) & {"prepare", "train", "measure", "grid"}, "nothing is made again"
    assert [file.stat().st_mtime_ns for file in house.records()] == old
    assert "NDCG@20" in page
    summary = house.table("summary")
    row = summary[(summary.metric == "ndcg@20") & (summary.ties == "conservative") & (summary.seen_items == "kept")]  # fmt: skip
    (file,) = house.records("tiny/matched/sasrec")
    with np.load(file.with_name("samples.npz")) as samples:
        expected = per_user(samples["test/rank"], "ndcg@20").mean()
    assert row["mean"].iloc[0] == pytest.approx(expected)


STEPS = '''
def steps(tables: Tables) -> Iterator[Drawing]:
    """Training steps by model."""
    rows = pick(tables.frames["experiments"], kind="train")
    yield Drawing("steps", "training", {}, "Steps taken", "One bar per model.", partial(_steps, rows), rows)


def _steps(rows: pd.DataFrame) -> Figure:
    axis = panel()
    axis.bar(rows.model, rows.steps)
    return axis.figure


'''


def test_a_figure_is_a_function_and_an_entry(house):
    file = "seqbench/report/figures.py"
    house.edit("figure", file, "FIGURES = (", f"{STEPS.lstrip()}FIGURES = (steps, ")
    jobs, page = house.report()
    assert house.touched["figure"] == {file}
    assert not set(jobs) & {"prepare", "train", "measure", "grid", "collect"}
    assert 'id="figure-steps"' in page and "Steps taken" in page


@pytest.fixture(scope="module")
def grown(house):
    """The checkout with a model, two datasets, a track and a measured quantity more, run to the page once."""
    house.write("model", "models/small.py", SMALL)
    house.configure("model", lambda c: [c[part]["models"].append("small") for part in ("run", "measure")])  # fmt: skip

    rng = np.random.default_rng(0)
    rows = [f"{u},{rng.integers(1, 30)},{t}" for u in range(120) for t in range(10**9, 10**9 + 10)]
    (house.work / "mine.csv").write_text("\n".join(["user,item,time", *rows]) + "\n")
    own = {"source": "file", "k_core": 1, "seq_lens": [8], "local": {"path": "mine.csv", "columns": {"user": "user", "item": "item", "time": "time"}}}  # fmt: skip
    house.configure("own dataset", lambda c: (c["datasets"].update(mine=own), c["run"]["datasets"].append("mine")))  # fmt: skip

    wide = {"hyperparameters": {"d_model": 32}, "training": BASE["tracks"]["matched"]["training"]}
    house.configure("track", lambda c: (c["tracks"].update(wide=wide), c["run"]["tracks"].append("wide")))  # fmt: skip

    house.edit("quantity", "seqbench/core/display.py", '    "gpu_step_s": Quantity(', '    "longest_wait_s": Quantity("Longest wait for data", "s", LOWER, "time", _TRAIN),\n    "gpu_step_s": Quantity(')  # fmt: skip
    house.edit("quantity", "seqbench/measuring/phases.py", '        "tokens": tokens[warm:],\n', '        "tokens": tokens[warm:],\n        "longest_wait_s": max(wait.seconds[warm:]),\n')  # fmt: skip
    planned = house.plan()

    published = "\n".join(f"u{u},i{rng.integers(1, 30)},5.0,{t}" for u in range(120) for t in range(10**9, 10**9 + 10)) + "\n"  # fmt: skip
    (house.work / "data").mkdir()
    (house.work / "data" / "lines.csv").write_text(published)
    digest = hashlib.sha256(published.encode()).hexdigest()
    source = SOURCE.format(sha256=digest)
    text = (house.checkout / "seqbench/config/sources.py").read_text(encoding="utf-8")
    head, end, tail = text.partition("}\n\n\ndef raw_file")
    assert end
    house.write("public dataset", "seqbench/config/sources.py", head + source.lstrip("\n") + end[2:] + tail)  # fmt: skip
    block = {"source": "lines", "k_core": 1, "seq_lens": [8]}
    house.configure("public dataset", lambda c: (c["datasets"].update(lines=block), c["run"]["datasets"].append("lines")))  # fmt: skip
    trained = {file: file.stat().st_mtime_ns for file in house.records("tiny/matched/sasrec")}
    _, page = house.report()
    assert all(file.stat().st_mtime_ns == before for file, before in trained.items())
    return house, planned, page


def test_a_model_is_a_file_and_its_name(grown):
    house, _, page = grown
    assert house.touched["model"] == {"models/small.py", CONFIG}
    assert "Running mean" in page
    (file,) = house.records("tiny/matched/small")
    record = json.loads(file.read_text())
    assert record["status"] == "ok" and record["job"]["hyperparameters"] == {"d_model": 64}
    compared = house.table("comparisons")
    assert ("sasrec", "small") in set(zip(compared.model_a, compared.model_b, strict=True))
    cost = house.table("efficiency")
    assert (cost[cost.model == "small"].metric == "step_s").any()


def test_an_own_dataset_is_a_block(grown):
    house, _, page = grown
    assert house.touched["own dataset"] == {CONFIG}
    assert 'data-dataset="mine"' in page and len(house.records("mine/matched/sasrec")) == 1


def test_a_public_dataset_is_a_source_and_a_block(grown):
    house, _, page = grown
    assert house.touched["public dataset"] == {"seqbench/config/sources.py", CONFIG}
    assert 'data-dataset="lines"' in page and len(house.records("lines/matched/sasrec")) == 1


def test_a_track_is_a_block(grown):
    house, _, page = grown
    assert house.touched["track"] == {CONFIG}
    assert 'data-track="wide"' in page
    (file,) = house.records("tiny/wide/small")
    assert json.loads(file.read_text())["job"]["hyperparameters"] == {"d_model": 32}


def test_a_measured_quantity_is_an_entry_and_what_measures_it(grown):
    house, planned, page = grown
    assert house.touched["quantity"] == {"seqbench/core/display.py", "seqbench/measuring/phases.py"}
    assert "Longest wait for data" in page
    cost = house.table("efficiency")
    assert cost[cost.metric == "longest_wait_s"]["median"].notna().all()
    assert planned["train"] == 2 * 2 * 2 - 1, "the training that was there is not made again"
