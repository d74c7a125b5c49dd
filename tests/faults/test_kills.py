"""One chain of kills through all stages of a workflow, which ends as its twin that nobody killed; more: `make faults`."""

import random
import sys

import pytest
from kills import SIGNALS, Kill, checked, kill_workflow, place, timed, work_in
from sound import differences

pytestmark = [
    pytest.mark.workflow, pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]  # fmt: skip
TARGETS = ("report", "publish")


def test_a_chain_of_kills_ends_as_a_run_that_nobody_killed():
    """Each start of the same command is killed in a stage that no kill has met, with every signal in turn."""
    rng = random.Random(2026)
    with place() as here:
        twin, work = work_in(here, "twin"), work_in(here, "work")
        seconds = timed(here, twin, *TARGETS)
        verbs = ["prepare", "prepare", "run", "measure", "collect", "report", "publish"]
        met = []
        for number in range(len(verbs)):
            left = [verb for verb in set(verbs) if met.count(verb) < verbs.count(verb)]
            wanted = {verb: rng.uniform(0, 0.9 * seconds[verb]) for verb in sorted(left)}
            sent = SIGNALS[number % len(SIGNALS)]
            kill = Kill(number, "any", True, sent.name, sent.name == "SIGINT" or number > 3, "")
            met.append(kill_workflow(here, wanted, work, kill, TARGETS))
            checked(here, work, twin)
        assert len(set(met) - {None}) > 3  # an idle machine is not needed for that
        here.run(here.snakemake(*TARGETS), work)
        checked(here, work, twin)
        assert differences(work, twin) == []
        assert "Nothing to be done" in here.run(here.snakemake("report"), work)
