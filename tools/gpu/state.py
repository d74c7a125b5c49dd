"""What gpu-check keeps between two calls besides records: one small JSON file per part, and which code made it."""

from __future__ import annotations

import json
import sys
from typing import Any

from seqbench.core import provenance
from seqbench.core.records import write_atomically

from .plan import Plan


def say(plan: Plan, text: str) -> None:
    """One line of progress, with the seconds that are left."""
    print(f"gpu-check: {text} ({max(plan.left_s(), 0):.0f} s left)", file=sys.stderr, flush=True)


def identity(*files: str) -> str:
    """Identity of modules of the checkout and all that they use."""
    return provenance.meaning(provenance.ROOT, files, provenance.NUMBERS)


def write(plan: Plan, name: str, content: dict[str, Any]) -> None:
    """Keep what a part found."""
    write_atomically(plan.checks / name, (json.dumps(content, indent=1) + "\n").encode())


def read(plan: Plan, name: str) -> dict[str, Any]:
    """What a part found in an earlier call; empty if it did not."""
    try:
        return json.loads((plan.checks / name).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return {}
