"""Draw files, configurations, servers and commands for so many minutes: ``python tests/faults/fuzz.py --minutes 60`` (`make fuzz`).

Each round runs the drawing tests in a fresh process with other examples. A table at the end shows what was drawn and failed;
the smallest example of a failure stands in the log, and becomes a test of its own.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = [f"tests/unit/{name}.py" for name in ("test_fuzz", "test_same_events", "test_fuzz_server", "test_every_key")]  # fmt: skip
ENDED = re.compile(r"^(\S+::\S+) (PASSED|FAILED|ERROR)", re.MULTILINE)
# Of Hypothesis' statistics: the test, and what it drew.
DRAWN = re.compile(
    r"^(tests/\S+::[^\s\[:]+)\S*:$|^ *- .*?(\d+) passing examples, (\d+) failing", re.MULTILINE
)


def main() -> int:
    """Exit status 0 if nothing failed, else 1."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, default=60)
    options.add_argument("--examples", type=int, default=400, help="of each kind in a round")
    options.add_argument("--log", type=Path, default=ROOT / "results" / "fuzz.log")
    asked = options.parse_args()
    asked.log.parent.mkdir(parents=True, exist_ok=True)
    until, drawn, failed, rounds = time.monotonic() + asked.minutes * 60, Counter(), Counter(), 0
    files = [file for file in TESTS if (ROOT / file).exists()]
    command = [sys.executable, "-m", "pytest", "-v", "--show-capture=no", "--hypothesis-show-statistics", "-p", "no:cacheprovider", *files]  # fmt: skip
    with asked.log.open("w", encoding="utf-8") as log:
        while time.monotonic() < until:
            rounds += 1
            environment = {**os.environ, "SEQBENCH_FUZZ": str(asked.examples)}
            said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)  # fmt: skip
            found = ENDED.findall(said.stdout)
            test = ""
            for name, passed, broken in DRAWN.findall(said.stdout):
                test = name or test
                drawn[test] += int(passed or 0) + int(broken or 0)
            failed.update(test.partition("[")[0] for test, how in found if how != "PASSED")
            if said.returncode or not found:
                print(said.stdout, said.stderr, file=log, flush=True)
            print(f"round {rounds}: {sum(drawn.values()):,} examples, {sum(failed.values())} failures so far", flush=True)  # fmt: skip
            if not found:
                return 1
    print(f"\n{'kind':60} {'examples':>9} {'failed rounds':>13}")
    for test in sorted({*drawn, *failed}):
        print(f"{test.rpartition('/')[2]:60} {drawn[test]:>9,} {failed[test]:>13}")
    print(f"{rounds} rounds in {asked.minutes:g} minutes; what failed stands in {asked.log}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
