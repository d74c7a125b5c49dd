"""What a kill at the worst moment leaves: results that were moved away are put back, processes end, files are whole or not there."""

import signal
import sys

import pandas as pd
import psutil
import pytest
from real_processes import LIMIT_S, is_gone, said, start, until

from seqbench.core import disk, processes, store, table_files
from seqbench.core.display import TABLES
from seqbench.core.errors import UserError
from seqbench.core.ownership import owned

linux = pytest.mark.skipif(
    sys.platform != "linux", reason="the kernel ends a process with its parent"
)

PUBLISH = """
import os, signal, sys
from pathlib import Path
from seqbench.core import store
rename, left = Path.rename, int(sys.argv[2])
def dying(self, target):
    global left
    left -= 1
    if left == -1 or left < 0 and len(sys.argv) > 4:
        os.kill(os.getpid(), int(sys.argv[3]))
    return rename(self, target)
Path.rename = dying
reference = Path(sys.argv[1])
with store.publishing(reference), store.staged(reference / "machine") as new:
    (new / "file").write_text("new")
"""


def published(tmp_path):
    reference = tmp_path / "results/reference"
    (reference / "machine").mkdir(parents=True)
    (reference / "machine/file").write_text("old")
    return reference, reference / "machine/file"


@pytest.mark.parametrize("renames", [0, 1])
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_published_results_survive_a_kill_between_the_renames_that_replace_them(
    tmp_path, renames, by
):
    reference, file = published(tmp_path)
    process = start(PUBLISH, reference, renames, int(by))
    process.communicate(timeout=LIMIT_S)
    assert process.returncode
    assert file.exists() == (renames == 0 or by == signal.SIGINT)  # which a program may undo
    store.recover(reference)
    assert file.read_text() == "old"
    with store.publishing(reference), store.staged(file.parent) as new:
        assert (new / "file").read_text() == "old"
        (new / "file").write_text("new")
    assert file.read_text() == "new"
    assert [path.name for path in reference.parent.iterdir()] == ["reference"]


def test_somebody_who_interrupts_twice_loses_nothing(tmp_path):
    reference, file = published(tmp_path)
    process = start(PUBLISH, reference, 1, int(signal.SIGINT), "again")
    process.communicate(timeout=LIMIT_S)
    assert process.returncode and not file.exists()
    store.recover(reference)
    assert file.read_text() == "old"


def test_whoever_reads_while_somebody_publishes_takes_nothing_away(tmp_path):
    reference = tmp_path / "results/reference"
    (reference / "machine").mkdir(parents=True)
    with store.publishing(reference), store.staged(reference / "machine") as new:
        (new.parent / store.MOVED / "other").mkdir()
        store.recover(reference)
        assert (new.parent / store.MOVED / "other").exists()


def test_nothing_is_made_for_a_publication_that_is_refused(tmp_path):
    with pytest.raises(ZeroDivisionError), store.publishing(tmp_path / "results/reference"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_tables_are_not_read_while_they_are_written(tmp_path):
    """Half of them would be new: damaged, as their checksums tell it, and then set aside."""
    settings = {"margin": 0.1, "focal_model": "sasrec", "models": [], "environments": []}
    table_files.write(tmp_path, {name: pd.DataFrame() for name in TABLES}, {}, settings)
    with owned(tmp_path), pytest.raises(UserError, match="are being written"):
        table_files.read(tmp_path)
    assert table_files.read(tmp_path)[2] == settings


# Stands in for a page whose figures are being drawn.
DRAW = """
import os, sys, time
import pandas as pd
from pathlib import Path
from seqbench.report.style import Drawing, pictures

def draw():
    Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(600)

pictures([Drawing(name, "answer", {}, name, "", draw, pd.DataFrame()) for name in "abcd"])
"""


@linux
def test_the_processes_that_draw_figures_end_with_the_page(tmp_path):
    page = start(DRAW, tmp_path)
    until(lambda: len(list(tmp_path.iterdir())) == 2, "both draw")
    started = psutil.Process(page.pid).children(recursive=True)
    page.kill()
    page.communicate(timeout=LIMIT_S)
    for process in started:
        until(lambda process=process: is_gone(process.pid), f"the end of {process}")


# A fork server outlives who started it by a moment, in which its child asks to end with its parent.
LATE = """
import multiprocessing, os, sys, time
from pathlib import Path
from seqbench.core import processes

def child(folder, starter):
    Path(folder, "pid").write_text(str(os.getpid()))
    while processes._began(starter) is not None:
        time.sleep(0.01)
    processes.die_with_parent()
    Path(folder, "lives").touch()

if __name__ == "__main__":
    context = multiprocessing.get_context("forkserver")
    context.Process(target=child, args=(sys.argv[1], os.getpid())).start()
    time.sleep(600)
"""


@linux
def test_a_process_whose_starter_died_before_it_looked_ends(tmp_path):
    (tmp_path / "late.py").write_text(LATE)
    starter = start("import runpy, sys; sys.argv[1:1] = []; runpy.run_path(sys.argv.pop(1), run_name='__main__')", tmp_path / "late.py", tmp_path)  # fmt: skip
    pid = int(until(lambda: said(tmp_path / "pid"), "the child runs"))
    starter.kill()
    starter.communicate(timeout=LIMIT_S)
    until(lambda: is_gone(pid), "the end of the child")
    assert not (tmp_path / "lives").exists()


WRITE = """
import os, signal, sys
from pathlib import Path
from seqbench.core import disk
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
disk.write_atomically(Path(sys.argv[1]), "new")
"""


def test_a_file_is_whole_after_a_kill_and_its_next_writer_sweeps(tmp_path):
    file, beside = tmp_path / "a[b].json", tmp_path / ".other.json.12345678-1.tmp"
    file.write_text("old")
    beside.touch()
    killed = start(WRITE, file)
    killed.communicate(timeout=LIMIT_S)
    assert killed.returncode == -signal.SIGKILL
    assert file.read_text() == "old" and len(list(tmp_path.iterdir())) == 3
    elsewhere = tmp_path / f".{file.name}.12345678-{killed.pid}.tmp"
    alive = tmp_path / f".{file.name}.{processes.in_name()}.tmp"
    for path in (elsewhere, alive):
        path.touch()
    assert not processes.is_dead(processes.in_name())
    disk.write_atomically(file, "new")
    assert file.read_text() == "new"
    assert {path.name for path in tmp_path.iterdir()} == {file.name, beside.name, elsewhere.name}
