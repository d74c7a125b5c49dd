"""A run on a cluster with accounting, which goes away."""

import pytest
from on_slurm import LOG, RECORD, TINY, training
from slurm import until

pytestmark = pytest.mark.slow


def test_an_accounting_that_goes_away_and_a_cancelled_job_end_no_run(accounting, workflow):
    run = workflow(accounting, TINY)
    run.hold(training())
    run.start(target=RECORD)
    (job,) = accounting.running("rule_train")
    run.waits(LOG)
    accounting.ask("scancel", job["id"])
    until(lambda: len(accounting.jobs("rule_train")) == 2, "the cancelled job comes again")
    accounting.pause_database()
    run.release()
    run.ends_well()
    assert "CANCELLED" in [j["state"] for j in accounting.jobs("rule_train")]
    assert run.record(training())["status"] == "ok"
