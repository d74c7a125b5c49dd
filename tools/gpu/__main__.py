"""A check on a machine with a GPU: ``python -m tools.gpu check|unpack``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from seqbench.cli import count, positive
from seqbench.core.errors import UserError, words


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; 0 on success, 1 when a part failed, 2 on bad input."""
    arguments = _parser().parse_args(argv)
    try:
        return arguments.verb(arguments) or 0
    except (UserError, OSError, UnicodeDecodeError) as error:
        print(f"error: {words(error)}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.gpu", description=__doc__, allow_abbrev=False
    )
    verbs = parser.add_subparsers(required=True, metavar="verb")
    text = "tests, kernels, cost and short trainings on a GPU, into one archive"
    check = verbs.add_parser("check", help=text, description=text, allow_abbrev=False)
    check.set_defaults(verb=_check)
    path = {"type": Path, "required": True}
    for name, options in {
        "out": {**path, "help": "where the archive goes"},
        "parts": {"default": "tests scan cost train", "help": "which parts, in quotes, `tune` and `quality` too (default: all others)"},
        "budget-s": {"type": positive, "default": 540.0, "help": "seconds after which nothing new is started (default 540)"},
        "data": {"type": Path, "help": "folder of a prepared dataset; without it one is generated"},
        "allow-cpu": {"action": "store_true", "help": "run without a GPU, to try the command itself"},
        "tiny": {"action": "store_true", "help": "sizes for a test of the command itself"},
        "every": {"action": "store_true", "help": "the whole grid of config/gpu.yaml, not its core"},
        "only": {"default": "*", "help": "of cost only jobs whose folder below runs/ matches, 'full-length/*' say (default: all)"},
        "grid": {"type": Path, "help": "results/grid.json for the parts `tune` and `quality`; data/ lies beside it"},
        "share": {"type": count, "default": 1, "help": "trainings at once on the GPU in the parts `tune` and `quality` (default 1)"},
    }.items():  # fmt: skip
        check.add_argument(f"--{name}", **options)
    text = "merge an archive of check into results/reference"
    unpack = verbs.add_parser("unpack", help=text, description=text, allow_abbrev=False)
    unpack.set_defaults(verb=_unpack)
    unpack.add_argument("--archive", **path, help="the .tar.gz that check packed")
    unpack.add_argument("--results", **path, help="the results folder")
    unpack.add_argument(
        "--readme", type=Path, help="README whose result tables are rewritten from the reference"
    )
    return parser


def _check(a: argparse.Namespace) -> int:
    from .command import gpu_check

    return gpu_check(
        a.out, a.parts, a.budget_s, a.data, a.allow_cpu, a.tiny, a.every, a.grid, a.share, a.only
    )


def _unpack(a: argparse.Namespace) -> None:
    from seqbench.report.publish import check_readme, together

    from .bundle import unpack

    check_readme(a.readme)
    folder = unpack(a.archive, a.results)
    print(f"unpacked: {folder}", file=sys.stderr)
    together(folder.parent, a.readme)


if __name__ == "__main__":
    sys.exit(main())
