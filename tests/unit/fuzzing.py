"""Shared by the tests that draw what they read: how many examples, and what a refusal looks like.

SEQBENCH_FUZZ=<examples> draws that many of each kind, other ones in every run; `make fuzz` does so for an hour.
"""

import os
from contextlib import contextmanager

from hypothesis import HealthCheck, settings

from seqbench.core.errors import UserError

EXAMPLES = int(os.environ.get("SEQBENCH_FUZZ", "0"))


def drawing(examples):
    """Settings of a test that draws so many examples unless SEQBENCH_FUZZ says how many."""
    return settings(
        max_examples=EXAMPLES or examples, derandomize=not EXAMPLES, database=None, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


@contextmanager
def one_line(file):
    """What is refused in here is refused in one line that names `file`; any other error fails."""
    try:
        yield
    except UserError as error:
        message = str(error)
        assert "\n" not in message and message.isprintable() and len(message) > 10
        assert file in message
        message.encode()
