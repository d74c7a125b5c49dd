"""Runs of the workflow in folders of their own, on a cluster by its profile or on this machine, and what they leave."""

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import yaml
from slurm import PATIENCE_S, until

from seqbench.core.ownership import owned
from seqbench.core.records import read_record

ROOT = Path(__file__).parents[2]
PROFILE = ROOT / "profiles/slurm"

QUALITY = ("effectiveness", "summary", "comparisons", "protocols", "agreement")  # tables

TINY = {
    "datasets": {
        "tiny": {
            "source": "synthetic", "k_core": 1, "seq_lens": [8],
            "training": {"max_steps": 20, "warmup_steps": 10, "eval_every": 10, "targets_per_step": 256},
            "synthetic": {"n_users": 200, "n_items": 40, "mean_length": 12},
        }
    },
    "allow_cpu": True,  # the GPUs are pretended
    "run": {"datasets": ["tiny"], "models": ["sasrec", "popularity", "markov"], "seeds": [0], "more_seeds": []},
    "measure": {
        "models": ["sasrec"], "n_items": 40, "rounds": 1, "steps": 2, "warmup": 1, "on_datasets": ["tiny"],
        "scaling": {
            "length_at_constant_tokens": {"seq_lens": []}, "length_at_constant_batch": {"seq_lens": []},
            "batch_size": {"sequences": []}, "catalogue_size": {"n_items": []},
        },
    },
    "report": {"focal_model": "sasrec"},
}  # fmt: skip


def training(seed=0, model="sasrec"):
    """Folder of a training below that of a run."""
    return Path(f"results/runs/tiny/matched/{model}/L8-s{seed}")


RECORD, LOG = str(training() / "record.json"), "train/tiny/matched/sasrec/L8-s0"  # of the first one


class Workflow:
    """The workflow in a folder; ``cluster`` None: on this machine."""

    def __init__(self, folder, config, cluster):
        self.folder, self.cluster, self.process = folder, cluster, None
        self.folder.mkdir()
        self.config = folder / "config.yaml"
        self.config.write_text(yaml.safe_dump(config), encoding="utf-8")
        self._held = ExitStack()

    def start(self, *arguments, target="report"):
        """Start it in the background; ``end`` waits for it."""
        where = ["--cores", "2"]
        variables = {}
        if self.cluster:
            where = [
                "--workflow-profile",
                PROFILE,
                "--slurm-init-seconds-before-status-checks",
                "3",
            ]
            variables = self.cluster.variables
        command = [
            sys.executable, "-m", "snakemake", target, "--snakefile", ROOT / "Snakefile", "--directory", self.folder,
            "--configfile", self.config, *where, "--set-threads", "train=1", "measure=1", *arguments,
        ]  # fmt: skip
        self.log = self.folder / f"run-{len(list(self.folder.glob('run-*')))}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*map(str, command)], cwd=self.folder, env={**os.environ, **variables},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def end(self):
        """Wait for its end; exit status and what it said."""
        status = self.process.wait(PATIENCE_S)
        return status, self.log.read_text()

    def ends_well(self):
        status, said = self.end()
        assert status == 0, said
        return said

    def kill(self):
        """As a login node does that goes down: nobody is told."""
        self._held.close()
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def hold(self, folder):
        """Be the one who writes into a folder of outputs: its job waits, until ``release``."""
        self._held.enter_context(owned(self.folder / folder))

    def release(self):
        self._held.close()

    def waits(self, name):
        """Wait until the job with this log below results/logs waits for a folder that is held."""
        log = self.folder / "results/logs" / f"{name}.log"
        until(lambda: log.exists() and "waits for process" in log.read_text(), f"{name} waits")

    def record(self, folder):
        return read_record(self.folder / folder)

    def equals(self, other):
        """Hold ranks and tables of quality against those of another folder, bit for bit; how many trainings there are."""
        ours, theirs = ({file.parent.relative_to(run.folder): file for file in run.folder.glob("results/runs/*/*/*/L*-s*/samples.npz")} for run in (self, other))  # fmt: skip
        assert ours.keys() == theirs.keys()
        for folder in ours:
            with np.load(ours[folder]) as one, np.load(theirs[folder]) as two:
                names = [name for name in one.files if "rank" in name]
                assert names, folder
                for name in names:
                    np.testing.assert_array_equal(one[name], two[name], err_msg=f"{folder} {name}")
        for name in QUALITY:
            one, two = (
                (run.folder / f"results/tables/{name}.csv").read_text() for run in (self, other)
            )
            assert one == two, name
        return len(ours)
