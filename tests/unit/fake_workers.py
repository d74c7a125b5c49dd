"""Workers that stand in for contestants: scripts that keep to the protocol, or break it as a test asks."""

import json
import os
import sys
from dataclasses import dataclass

from tools.peers import race
from tools.peers.contestants import Contestant
from tools.peers.process import ROOT
from tools.peers.protocol import Settings

FAKE = """
import os, sys, time
from tools.peers.protocol import serve, Stages, versions

class Fake:
    def __init__(self, settings):
        self.log = open({log!r}, "a")
        print("chatter of a library")
        os.system("echo chatter of a program")
        {build}
        self.steps = 0
        self.facts = {{"seconds": {{"load": 0.5}}, "parameters": 7, "versions": versions(),
                      "evaluates": "nothing", "differs": ["everything"], "n_items": 9,
                      **({{"per_target": {{"flops": 6.0e3, "product_flops": 6.0e3, "exponentials": 0, "scan_bytes": 0}}}} if {name!r} == "good" else {{}})}}

    def train(self, done):
        while True:
            self.steps += 1
            self.log.write({name!r}); self.log.flush()
            print("step", self.steps)
            {step}
            if not done(10):
                return

    def evaluate(self):
        {evaluate}
        return 5

serve(Fake)
"""
VARIABLES = {**os.environ, "PYTHONPATH": str(ROOT), "MALLOC_TOP_PAD_": "1", "LD_PRELOAD": ""}
SETTINGS = Settings("nowhere")


@dataclass(frozen=True)
class Fake(Contestant):
    """A contestant whose worker is a script."""

    script: str = ""

    def command(self):
        return [sys.executable, self.script, json.dumps({"data": "nowhere"})]


def fake_in(folder):
    """Makes contestants in ``folder``; ``build``, ``step`` and ``evaluate`` are what they do there."""

    def make(name, build="pass", step="pass", evaluate="pass", text=FAKE):
        script = folder / f"{name}.py"
        log = str(folder / "turns")
        script.write_text(
            text.format(name=name, build=build, step=step, evaluate=evaluate, log=log)
        )
        return Fake(name, name.title(), "", SETTINGS, script=str(script))

    return make


class Clock:
    """A clock that goes on by one second whenever it is read."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1.0
        return self.now


def run(tmp_path, *chosen, budget_s=0.0):
    """A race by that clock: a budget of 0 means the fewest rounds."""
    return race.race(list(chosen), VARIABLES, tmp_path, budget_s, Clock(), warmup_s=0.0)
