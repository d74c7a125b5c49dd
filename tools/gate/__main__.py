"""The gate against regressions: ``python -m tools.gate [verb]``. Without a verb it compares."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from seqbench.cli import count, positive
from seqbench.core.errors import UserError, words
from seqbench.core.processes import end_with_who_asked
from seqbench.core.records import write_atomically
from seqbench.hardware.leases import SHARED, holding

BUDGET = {"type": positive, "default": 540.0,
          "help": "seconds after which nothing new is started (default 540)"}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb: 0 on success, 1 when the gate fails, 2 on bad input, 3 when it cannot tell."""
    rest = list(sys.argv[1:] if argv is None else argv)
    name = rest.pop(0) if rest and rest[0] in VERBS else "regression"
    declare, verb = VERBS[name]
    parser = argparse.ArgumentParser(
        prog=f"python -m tools.gate {name}", description=verb.__doc__,
        epilog=f"Verbs: {', '.join(VERBS)}.", allow_abbrev=False,
    )  # fmt: skip
    declare(parser)
    arguments = parser.parse_args(rest)
    end_with_who_asked()
    try:
        with holding(SHARED):
            return verb(arguments) or 0
    except (UserError, OSError, UnicodeDecodeError) as error:
        print(f"error: {words(error)}", file=sys.stderr)
        return 2


def _regression_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--base", help="revision to time this checkout against; without it only what needs no clock"
    )
    parser.add_argument("--budget-s", **BUDGET)
    parser.add_argument("--out", type=Path, required=True, help="folder of the verdict")
    parser.add_argument(
        "--accept", action="store_true",
        help="accept this checkout's counts and golden metrics, print what changes",
    )  # fmt: skip


def _regression(a: argparse.Namespace) -> int:
    """Has a change made anything slower, larger or different? 0 no, 1 yes, 3 cannot tell."""
    from .command import regression

    return regression(a.base, a.budget_s, a.out, a.accept)


def _selftest_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--budget-s", **BUDGET)
    parser.add_argument(
        "--repeats", type=count, default=1, help="how often every change is planted (default 1)"
    )
    parser.add_argument(
        "--plants", nargs="+", metavar="PLANT", help="only these of the changes (default: all)"
    )
    parser.add_argument(
        "--collect", type=count, nargs=2, metavar=("EQUAL", "SLOWED"),
        help="only collect so many blocks of equal and of slowed checkouts, for the gate's rates",
    )  # fmt: skip
    parser.add_argument(
        "--rates", type=Path, nargs="+", metavar="BLOCKS",
        help="only resample the blocks in these folders into rates of detection and of false alarms",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="where the result goes")


def _selftest(a: argparse.Namespace) -> int:
    """Plant changes in copies of the checkout: does the gate find and name them?"""
    from . import rates, selftest

    if a.rates:
        table = rates.to_markdown(*rates.rates(rates.read(a.rates), a.budget_s), a.budget_s)
        write_atomically(a.out / "rates.md", table.encode())
        print(table, end="")
        return 0
    if a.collect:
        selftest.collect(*a.collect, a.out / "blocks")
        return 0
    return selftest.status(selftest.selftest(a.budget_s, a.repeats, a.out, a.plants))


def _golden_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    parser.add_argument("--gpu", action="store_true", help="only what the visible GPU allocates")


def _golden(a: argparse.Namespace) -> None:
    """Write counts and metrics of tiny trainings, which the gate compares."""
    from .probe import probe

    write_atomically(a.out, json.dumps(probe(a.gpu), indent=1, sort_keys=True).encode() + b"\n")


def _equal_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("old", metavar="OLD", help="revision whose records are to stay current")
    parser.add_argument(
        "new", metavar="NEW", nargs="?",
        help="revision that changed no number, or . for the working tree (default: HEAD)",
    )  # fmt: skip
    parser.add_argument("--models", nargs="+", default=(), help="only these models (default: all)")
    parser.add_argument(
        "--write", action="store_true", help="add the proved pairs to results/reference/equivalent.json"
    )  # fmt: skip


def _equal(a: argparse.Namespace) -> int:
    """Do two revisions give equal numbers, bit for bit? 0 yes, 1 no."""
    from .equal import equal

    return equal(a.old, a.new, a.models, a.write)


def _trend_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="folder of the verdicts")


def _trend(a: argparse.Namespace) -> None:
    """Print the level of every stage on every machine of the history, and since when it holds."""
    from . import history

    print(history.to_markdown(history.read(a.out / history.FILE)), end="")


VERBS: dict[str, tuple[Callable, Callable]] = {
    "regression": (_regression_options, _regression),
    "selftest": (_selftest_options, _selftest),
    "equal": (_equal_options, _equal),
    "golden": (_golden_options, _golden),
    "trend": (_trend_options, _trend),
}


if __name__ == "__main__":
    sys.exit(main())
