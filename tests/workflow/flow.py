"""A copy of the checkout to run workflows from, and a way to run them."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "config" / "demo.yaml"
PARTS = (
    "Snakefile",
    "config",
    "envs",
    "models",
    "profiles",
    "seqbench",
    "workflow",
    "report/template",
)


@dataclass(frozen=True)
class Result:
    """How a run of Snakemake ended: exit status and everything it printed."""

    status: int
    text: str

    @property
    def jobs(self):
        """Planned jobs by rule, from the first table of job statistics; empty if nothing is to be done."""
        table = re.search(r"^job +count\n[- ]+\n(.*?)^total +\d+", self.text, re.M | re.S)
        rows = re.findall(r"^(\S+) +(\d+)", table[1], re.M) if table else []
        return {rule: int(count) for rule, count in rows}

    @property
    def lines(self):
        return [line for line in self.text.splitlines() if line.startswith(("error:", "Error"))]


def copy_checkout(target):
    """Copy what the workflow needs of this checkout."""
    ignore = shutil.ignore_patterns("__pycache__")
    for part in PARTS:
        source, copied = ROOT / part, target / part
        copied.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copied, ignore=ignore)
        elif source.exists():
            shutil.copy2(source, copied)
    return target


def command(checkout, *arguments):
    """The command line of a run."""
    return [
        sys.executable,
        "-m",
        "snakemake",
        "-s",
        str(checkout / "Snakefile"),
        *map(str, arguments),
    ]


def snakemake(checkout, folder, *arguments, variables=None):
    """Run the copy's workflow in ``folder``, as a user would from a shell."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        command(checkout, *arguments),
        cwd=folder,
        env={**os.environ, **(variables or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=3000,
    )
    return Result(done.returncode, done.stdout)


def write(path, config):
    """Write a configuration file and return its path."""
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path
