"""The targets of the Makefile: which configuration they hand on, and what `make help` tells of them."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def said(*arguments):
    done = subprocess.run(["make", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("target", ["report", "check", "publish", "tune", "accept-tuning"])
def test_a_target_works_on_the_configuration_of_the_run(target):
    """Without its files `check` and `publish` would start the default comparison."""
    for variable in ("CONFIGFILES", "CONFIG"):
        ran = said("--dry-run", target, f"{variable}=a.yaml b.yaml")
        assert ran.count(" --configfile a.yaml b.yaml\n") == 1
    assert "--configfile" not in said("--dry-run", target)


def test_help_lists_every_target_in_one_column_and_every_variable():
    text = said("help")
    described = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), flags=re.M)
    listed = re.findall(r"^(make (\S+) +)\S", text, flags=re.M)
    assert [name for _, name in listed] == described
    assert len({len(column) for column, _ in listed}) == 1
    for variable in ("CONFIGFILES", "CONFIG=", "BASE", "REPEATS", "BUDGET_S", "DATA", "CORES"):
        assert variable in text.partition("Variables:")[2]


@pytest.mark.parametrize(("target", "chosen"), [("test", ' -m "not slow"'), ("test-all", "")])
def test_the_slow_tests_run_under_a_target_of_their_own(target, chosen):
    (ran,) = re.findall(r" -m pytest -n 2 --dist loadfile(.*\n)", said("--dry-run", target))
    assert ran == f"{chosen} --ignore=tests/browser --ignore=tests/cluster\n"


@pytest.mark.parametrize("given", [(), ("A=results",), ("B=results",)])
def test_two_folders_are_needed_to_compare(given):
    done = subprocess.run(
        ["make", "--old-file", "setup", "compare", *given], cwd=ROOT, capture_output=True, text=True
    )
    line = done.stderr.splitlines()[0]
    assert done.returncode == 2 and "A=" in line and "B=" in line
