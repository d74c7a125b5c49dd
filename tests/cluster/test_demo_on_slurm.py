"""The demo through the profile, held against the demo on this machine."""

import pytest
import yaml
from on_slurm import ROOT

pytestmark = pytest.mark.slow


def test_the_demo_gives_the_ranks_and_tables_that_this_machine_gives(cluster, workflow):
    demo = yaml.safe_load((ROOT / "config/demo.yaml").read_text(encoding="utf-8"))
    demo["allow_cpu"] = True  # the GPUs are pretended
    here, there = workflow(None, demo, "here"), workflow(cluster, demo, "there")
    here.start()
    here.ends_well()
    there.start()
    there.ends_well()
    assert there.equals(here) == 29
    baselines = cluster.jobs("baseline")
    assert len(baselines) == 2, "nine of them, six a job"
    assert {job["gres"] for job in baselines} == {"N/A"}
