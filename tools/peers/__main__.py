"""The command line: ``python -m tools.peers``; its options stand in ``_parser``."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seqbench.cli import count, positive
from seqbench.config.messages import instead
from seqbench.core.errors import UserError
from seqbench.hardware.leases import SHARED, holding
from seqbench.hardware.worker_env import worker_environment

from .contestants import REFERENCE, contestants
from .interactions import open_flat
from .process import ROOT
from .protocol import Settings
from .race import race
from .result import assemble
from .show import aligned, table, write

DEFAULT_DATA = Path("results/data/ml-1m")
DEFAULT_OUT = Path("results/bench-peers")
# RecBole loads its own checkpoints with pickle, which torch refuses since 2.6.
VARIABLES = {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the race, print and write its result; 1 if our own reference failed, 2 on bad input."""
    arguments = _parser().parse_args(argv)
    try:
        result = run(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    write(result, arguments.out)
    print(aligned(table(result)))
    print(f"\nWritten to {arguments.out}", file=sys.stderr)
    reference = next(row for row in result["contestants"] if row["key"] == REFERENCE)
    return int(reference["status"] != "ok")


def run(a: argparse.Namespace) -> dict[str, Any]:
    """The result of one race, as plain data.

    Raises:
        UserError: there is no prepared dataset, or no row of a key.
    """
    if not (a.data / "dataset.json").exists():
        raise UserError(
            f"{a.data}: no prepared dataset; make the default one with: "
            f"snakemake --cores 1 {DEFAULT_DATA}/dataset.json"
        )
    settings = Settings(str(a.data.resolve()), threads=a.threads)
    flat = open_flat(settings.data)
    rows = {contestant.key: contestant for contestant in contestants(settings, flat)}
    for key in a.only:
        if key not in rows:
            raise UserError(f"--only {key}: unknown; {instead(key, rows)}")
    chosen = [row for key, row in rows.items() if not a.only or key in {REFERENCE, *a.only}]
    logs = a.out / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    with holding(SHARED), tempfile.TemporaryDirectory() as temporary:
        variables = {**worker_environment(a.threads), **VARIABLES, "TMPDIR": temporary}
        precisions = sorted({row.settings.precision for row in chosen})
        before = _ceilings(variables, a.threads, precisions)
        lanes = race(chosen, variables, logs, a.budget_s)
        limits = [c for c in (before, _ceilings(variables, a.threads, precisions)) if c]
    options = {"budget_s": a.budget_s, "only": a.only}
    return assemble(lanes, settings, variables, options, limits)


def _ceilings(
    variables: dict[str, str], threads: int, precisions: list[str]
) -> dict[str, Any] | None:
    """What the machine does at best, by precision, in a process of its own; None if that fails."""
    command = [sys.executable, "-m", "tools.peers.ceilings", str(threads), *precisions]
    done = subprocess.run(command, env=variables, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout) if done.returncode == 0 else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="peers", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--data", type=Path, default=DEFAULT_DATA, help="folder of a prepared dataset")
    add("--out", type=Path, default=DEFAULT_OUT, help="folder of the result")
    add("--budget-s", type=positive, default=600.0, help="seconds for all of it (default 600)")
    add("--threads", type=count, default=1, help="CPU threads of every worker (default 1)")
    add("--only", nargs="*", default=[], help="keys of the rows to run besides our reference")
    return parser


if __name__ == "__main__":
    sys.exit(main())
