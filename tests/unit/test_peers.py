"""The benchmark of peers with fake workers: who takes turns when, and failures that are named.

No peer needs to be installed, and no time is asserted.
"""

import pytest
from fake_workers import SETTINGS, VARIABLES, run

from tools.peers import contestants, race
from tools.peers.contestants import Contestant
from tools.peers.process import Failed, Worker, without_paths


def test_a_worker_answers_and_its_chatter_goes_to_its_log(fake, tmp_path):
    (lane,) = run(tmp_path, fake("good"))
    assert lane.failure is None and lane.facts["parameters"] == 7
    assert len(lane.warmup["step_s"]) == race.WARMUP
    assert [r["targets"] for r in lane.rounds] == [[10]] * race.FEWEST_ROUNDS
    assert all(s >= 0 for r in lane.rounds for s in r["step_s"] + r["cpu_s"])
    assert lane.evaluation["users"] == 5 and lane.peak_rss_bytes > 1e6
    log = (tmp_path / "good.log").read_text()
    assert "chatter of a library" in log and "chatter of a program" in log and "step 3" in log


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ({"build": "import a_package_that_is_not_there"}, "ModuleNotFoundError: No module named"),
        ({"step": "raise ValueError('bad batch\\nsecond line')"}, "ValueError: bad batch"),
        ({"step": "if self.steps == 4: os._exit(3)"}, "exit status 3: step 4"),
        ({"step": "if self.steps == 4: os.kill(os.getpid(), 9)"}, "killed by SIGKILL"),
        ({"step": "if self.steps == 4: os.kill(os.getpid(), 11)"}, "killed by SIGSEGV"),
        ({"evaluate": "raise MemoryError('no room')"}, "MemoryError: no room"),
        ({"text": "print('no protocol')"}, "answered no JSON: no protocol"),
        ({"text": "open('/no/such/place')"}, "exit status 1: FileNotFoundError"),
    ],
)
def test_a_worker_that_fails_is_named_with_its_reason_and_the_others_go_on(
    fake, tmp_path, what, reason
):
    bad, good = run(tmp_path, fake("bad", **what), fake("good"))
    assert bad.failure.startswith(reason) and "\n" not in bad.failure
    assert str(tmp_path) not in bad.failure and bad.worker is None
    assert good.failure is None and len(good.rounds) == race.FEWEST_ROUNDS


def test_what_a_worker_did_before_it_died_is_kept(fake, tmp_path):
    (bad,) = run(tmp_path, fake("bad", step="if self.steps == 5: os._exit(1)"))
    assert len(bad.rounds) == 2 and not bad.evaluation


def test_a_worker_that_hangs_is_stopped(fake, tmp_path, monkeypatch):
    monkeypatch.setattr(race, "ANSWER_LIMIT_S", 0.5)
    (lane,) = run(tmp_path, fake("slow", build="time.sleep(600)"))
    assert lane.failure == "no answer within 0.5 s" and lane.worker is None


def test_an_interpreter_that_is_not_there_is_a_failure(tmp_path):
    with pytest.raises(Failed, match="cannot be started: No such file"):
        Worker([str(tmp_path / "python")], VARIABLES, tmp_path / "log")


def test_a_peer_without_environment_is_a_failure_with_the_words_of_pip(tmp_path, monkeypatch):
    monkeypatch.setattr(contestants, "VENVS", tmp_path)
    peer = Contestant("rectools", "RecTools", "tools.peers.rectools_worker", SETTINGS, "rectools")
    with pytest.raises(Failed, match="not installed: `make bench-peers`"):
        peer.command()
    (tmp_path / "rectools.failed").write_text(
        "WARNING: x\nERROR: No matching distribution\nERROR: see the manual\n\n"
    )
    with pytest.raises(Failed, match="not installed: ERROR: No matching distribution"):
        peer.command()
    (tmp_path / "rectools.made").touch()
    assert peer.command()[1:3] == ["-m", "tools.peers.rectools_worker"]


def test_contestants_take_turns_in_rotating_order(fake, tmp_path):
    run(tmp_path, fake("a"), fake("b", step="if self.steps == 4: os._exit(1)"), fake("c"))
    # Warm-up; then one step each. b ends in its second turn, and the other two go on rotating.
    assert (tmp_path / "turns").read_text() == "aabbcc" + "abc" + "bca" + "ac"
    assert race.rotated([], 3) == []


@pytest.mark.parametrize(("step_s", "steps"), [(3.0, 2), (0.5, 6), (1e-6, 2 + race.MOST_STEPS)])
def test_quick_steps_are_warmed_up_for_a_while(fake, step_s, steps):
    class Stub:
        def ask(self, line, limit_s):
            n = int(line.removeprefix("train "))
            return {"step_s": [step_s] * n, "cpu_s": [step_s] * n, "targets": [10] * n}

    lane = race.Lane(fake("quick"), worker=Stub())
    race._warm_up(lane, 2.0)
    assert [len(values) for values in lane.warmup.values()] == [steps] * 3


def test_steps_of_a_round_fill_the_share_of_the_budget():
    assert race.steps_in(5.0, {"step_s": [90.0, 2.0]}) == 2
    assert race.steps_in(0.0, {"step_s": [1.0, 2.0]}) == 1
    assert race.steps_in(1e6, {"step_s": [1.0, 1e-3]}) == race.MOST_STEPS


def test_rounds_end_before_the_deadline(fake, tmp_path):
    (lane,) = run(tmp_path, fake("good"), budget_s=1e9)
    assert len(lane.rounds) == race.ROUNDS
    (lane,) = run(tmp_path, fake("other"), budget_s=12.0)  # in readings of the clock
    assert race.FEWEST_ROUNDS < len(lane.rounds) < race.ROUNDS


def test_paths_are_cut_to_their_last_part():
    text = "cannot import 'x' from 'y' (/home/someone/lib/y/__init__.py), ratio 3/4"
    assert without_paths(text) == "cannot import 'x' from 'y' (__init__.py), ratio 3/4"
