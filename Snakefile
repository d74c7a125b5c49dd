# The comparison as a workflow: configuration, checks, rules, targets. `snakemake --cores 8 report` runs it.
import sys
from pathlib import Path

from snakemake.logging import logger
from snakemake.utils import min_version

min_version("9.27")
sys.path.insert(0, workflow.basedir)

from seqbench.config import publications
from seqbench.config.load import check_given, checked
from seqbench.core import deadline, failures, integrity, runs
from seqbench.core.errors import UserError


configfile: f"{workflow.basedir}/config/config.yaml"


try:
    check_given(workflow.configfiles, sys.argv[1:])
    config = checked(config, workflow.overwrite_configfiles)
    if workflow.is_main_process:
        publications.check(config)
        deadline.announce(config.get("deadline_s"))
except UserError as error:
    sys.exit(f"error: {error}")


STATE = Path(".snakemake")
ALONE = workflow.is_main_process and runs.register(STATE)
FAILED = failures.Failures()
if workflow.is_main_process:
    FAILED = failures.watch(logger, STATE)
    deadline.end_scheduling(logger)


onstart:
    try:
        runs.begin(STATE)
    except UserError as error:
        sys.exit(f"error: {error}")


onerror:
    deadline.leave(bool(FAILED.jobs))


include: "workflow/rules/common.smk"


VERIFIED = STATE / "verified.json"
if ALONE:
    integrity.look(RECORDS, Path("results/tables"), VERIFIED)


include: "workflow/rules/data.smk"
include: "workflow/rules/experiment.smk"
include: "workflow/rules/tune.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/regression.smk"


rule all:
    default_target: True
    input:
        TABLES,
        "report/index.html",


rule report:
    input:
        "report/index.html",
