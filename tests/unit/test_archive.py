"""Records of another machine in one archive: the same bytes every time, and nothing bad comes out of it."""

import gzip
import io
import json
import tarfile

import pytest
from builders import THREE, curves_of, measurement, write_dataset, write_measurement
from fake_tuning import PAIRS, data, trainer

from seqbench.core import provenance, records
from seqbench.core.errors import UserError
from seqbench.core.jobs import Study
from seqbench.report.publish import tables
from seqbench.training import archive as archives
from seqbench.training.archive import pack
from seqbench.training.search import tune

GPU = {
    "device": "NVIDIA Test", "device_kind": "cuda", "machine": "1" * 12, "machine_name": "nvidia-test", "driver": "580.1",
}  # fmt: skip


def unpack(archive, results):
    return archives.unpack(archive, results, tables)


@pytest.fixture
def checked(tmp_path):
    """Results of another machine: two jobs, a dataset, and the outcome of the tests."""
    folder = tmp_path / "there"
    for job in (measurement("toy", THREE), curves_of()[0]):
        write_measurement(folder, job, environment=GPU)
    write_dataset(folder)
    (folder / "checks").mkdir()
    (folder / "checks" / "tests.json").write_text('{"status": "passed"}\n')
    (folder / "data" / "toy" / "items.npy").write_bytes(b"large")
    return folder


@pytest.fixture
def archive(checked, tmp_path):
    path = tmp_path / "node-nvidia-test.tar.gz"
    pack(checked, path)
    return path


def members(archive):
    with tarfile.open(archive) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def repacked(archive, change):
    """The archive with its members changed by ``change(name -> content)``."""
    content = members(archive)
    change(content)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    archive.write_bytes(gzip.compress(buffer.getvalue()))


def test_records_samples_and_checks_are_packed_and_nothing_else(checked, archive, tmp_path):
    names = set(members(archive))
    assert "checks/tests.json" in names and "data/toy/dataset.json" in names
    assert not [name for name in names if name.endswith("items.npy")]
    assert len([name for name in names if name.endswith("record.json")]) == 2 * len(THREE)
    size = pack(checked, tmp_path / "again.tar.gz")
    assert archive.read_bytes() == (tmp_path / "again.tar.gz").read_bytes()
    assert size == archive.stat().st_size


def test_unpacking_publishes_below_the_machines_name(archive, tmp_path):
    folder = unpack(archive, tmp_path / "results")
    assert folder == tmp_path / "results/reference/nvidia-test"
    assert "toy,mamba4rec" in (folder / "efficiency.csv").read_text()
    assert "NVIDIA Test" in (folder / "README.md").read_text()
    assert json.loads((folder / "checks/tests.json").read_text()) == {"status": "passed"}
    unpack(archive, tmp_path / "results")  # once more changes nothing


@pytest.mark.parametrize("differs", ["nothing", "the sources", "this checkout"])
def test_a_copied_checkouts_records_get_the_revision_of_the_same_sources(
    archive, checked, tmp_path, monkeypatch, differs
):
    """A machine without the history calls a copy of a committed state changed; its hash says what it is."""

    def leave(said):
        for path in checked.rglob("record.json"):
            record = json.loads(path.read_text())
            path.write_bytes(records.sealed(record | {"identity": said}))
        pack(checked, archive)

    said = {"code": "a" * 16, "revision": "0" * 40, "dirty": True}
    leave(said)
    here = {
        "code": ("b" if differs == "the sources" else "a") * 16,
        "revision": "1" * 40,
        "dirty": differs == "this checkout",
    }
    monkeypatch.setattr(provenance, "provenance", lambda _: here)
    folder = unpack(archive, tmp_path / "results")
    codes = [json.loads(p.read_text())["identity"] for p in folder.rglob("record.json")]
    assert all(found == (here if differs == "nothing" else said) for found in codes) and codes


def test_another_job_is_not_overwritten(archive, checked, tmp_path):
    folder = unpack(archive, tmp_path / "results")
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    write_measurement(checked, measurement("toy", THREE) | {"rounds": 9}, environment=GPU)
    pack(checked, archive)
    with pytest.raises(UserError, match="published made with rounds = 3, asked for 9"):
        unpack(archive, tmp_path / "results")
    assert before == {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_records_of_two_machines_are_refused(archive, checked, tmp_path):
    added = tmp_path / "cpu"
    write_measurement(added, curves_of()[1])  # on the CPU of the builders
    pack(added, tmp_path / "cpu.tar.gz")
    repacked(archive, lambda content: content.update(members(tmp_path / "cpu.tar.gz")))
    with pytest.raises(UserError, match="come from two machines"):
        unpack(archive, tmp_path / "results")
    assert not (tmp_path / "results").exists()
    write_measurement(checked, curves_of()[1])
    with pytest.raises(UserError, match="come from two machines"):
        pack(checked, archive)


def test_samples_that_are_not_the_records_own_are_refused(archive, tmp_path):
    def swap(content):
        first, other = [name for name in content if name.endswith("samples.npz")][:2]
        content[first] = content[other]

    repacked(archive, swap)
    with pytest.raises(UserError, match=r"node-nvidia-test.*gru4rec.*SHA-256 differs"):
        unpack(archive, tmp_path / "results")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/etc/x",
        "runs/../../x/record.json",
        "runs/./record.json",
        "reference/x/record.json",
        ".",
        "runs/x.sh",
        "README.md",
    ],
)
def test_a_member_that_leads_outside_is_refused(archive, tmp_path, name):
    repacked(archive, lambda content: content.update({name: b"1"}))
    with pytest.raises(UserError, match="leads outside"):
        unpack(archive, tmp_path / "results")
    assert not (tmp_path / "results").exists() and not (tmp_path / "x").exists()


def test_a_link_is_refused(tmp_path):
    path = tmp_path / "link.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo("runs")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc"
        tar.addfile(member)
    with pytest.raises(UserError, match="is not a plain file"):
        unpack(path, tmp_path / "results")


@pytest.mark.parametrize("kind", ["cut", "text", "empty", "absent"])
def test_what_is_no_archive_is_one_line(archive, tmp_path, kind):
    content = {"cut": archive.read_bytes()[:-200], "text": b"hello", "empty": b""}
    if kind == "absent":
        archive.unlink()
    else:
        archive.write_bytes(content[kind])
    with pytest.raises(UserError) as caught:
        unpack(archive, tmp_path / "results")
    assert archive.name in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "results").exists()


def test_an_archive_without_records_says_what_to_run(archive, tmp_path):
    def empty(content):
        for name in [n for n in content if not n.startswith("checks/")]:
            del content[name]

    repacked(archive, empty)
    with pytest.raises(UserError, match="holds no records; run"):
        unpack(archive, tmp_path / "results")


def test_an_archive_that_unpacks_to_too_much_is_refused(archive, tmp_path, monkeypatch):
    monkeypatch.setattr("seqbench.training.archive.LIMIT_BYTES", 1000)
    with pytest.raises(UserError, match="more than 1,000 bytes"):
        unpack(archive, tmp_path / "results")


def first_record(content):
    return next(name for name in content if name.endswith("record.json"))


def move(content):
    name = first_record(content)
    for file in ("record.json", "samples.npz"):
        source = name.replace("record.json", file)
        content[f"runs/toy/matched/other/{file}"] = content.pop(source)


def other_users(content):
    facts = json.loads(content["data/toy/dataset.json"])
    facts |= {"files": {"users.npz": "0" * 64}}
    facts["sha256"] = records.digest(facts)
    content["data/toy/dataset.json"] = json.dumps(facts).encode()


BAD = {
    "not UTF-8": (lambda c: c.update({first_record(c): b"\xff\xfe"}), r"record\.json: not JSON \('utf-8'"),
    "not JSON": (lambda c: c.update({first_record(c): b"{"}), "not JSON"),
    "a fact is missing": (lambda c: c.update({"data/toy/dataset.json": b"{}"}), "no facts of a dataset"),
    "users are others": (other_users, "users.npz: SHA-256 differs"),
    "facts are no mapping": (lambda c: c.update({"data/toy/dataset.json": b"[]"}), "no facts of a dataset"),
    "in another's folder": (move, "matched/other: is the record of runs/full-length/matched/measure"),
}  # fmt: skip


@pytest.mark.parametrize("change", BAD)
def test_what_makes_no_tables_is_one_line_and_changes_nothing(archive, tmp_path, change):
    edit, said = BAD[change]
    repacked(archive, edit)
    with pytest.raises(UserError, match=said) as caught:
        unpack(archive, tmp_path / "results")
    assert "\n" not in str(caught.value) and not (tmp_path / "results").exists()
    assert str(caught.value).startswith(f"{archive}: ") and "/archive/" not in str(caught.value)


def test_a_machines_name_cannot_lead_outside(checked, tmp_path):
    for job in (measurement("toy", THREE), curves_of()[0]):
        write_measurement(checked, job, environment=GPU | {"machine_name": "../../escaped"})
    pack(checked, tmp_path / "a.tar.gz")
    with pytest.raises(UserError, match="cannot be a folder"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "deep" / "results")
    assert not (tmp_path / "escaped").exists() and not (tmp_path / "deep").exists()


def test_another_machine_with_the_same_gpu_changes_nothing(archive, checked, tmp_path):
    """Both are called after the GPU; only the tables of both together show it."""
    folder = unpack(archive, tmp_path / "results")
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    second = tmp_path / "second"
    write_measurement(second, curves_of()[1], environment=GPU | {"machine": "2" * 12})
    pack(second, archive)
    with pytest.raises(UserError, match="come from two machines"):
        unpack(archive, tmp_path / "results")
    assert before == {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_flipped_byte_is_noticed_wherever_it_is(archive, tmp_path):
    content = archive.read_bytes()
    for at in range(20, len(content), len(content) // 25):
        archive.write_bytes(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :])
        with pytest.raises(UserError, match="damaged or not an archive"):
            unpack(archive, tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_a_file_that_was_being_written_is_not_packed(checked, archive):
    (checked / "checks" / ".train.json.7.tmp").write_text("{")
    before = archive.read_bytes()
    pack(checked, archive)
    assert archive.read_bytes() == before


def test_what_is_damaged_is_not_packed(checked, tmp_path):
    next(checked.rglob("samples.npz")).write_bytes(b"x")
    with pytest.raises(UserError, match="SHA-256 differs"):
        pack(checked, tmp_path / "a.tar.gz")
    assert not (tmp_path / "a.tar.gz").exists()


# --- studies ----------------------------------------------------------------------------------------------------------

STUDY = Study("toy", "sasrec", 20, ((4, 1.0),), PAIRS)


@pytest.fixture
def tuned(tmp_path):
    """Results of another machine with a study, their archive, and the folder that it was unpacked into."""
    there, results = tmp_path / "tuned", tmp_path / "results"
    tune(STUDY, data(tmp_path), there / STUDY.path, 1, None, trainer([]))
    pack(there, tmp_path / "tuned.tar.gz")
    unpack(tmp_path / "tuned.tar.gz", results)
    return there, tmp_path / "tuned.tar.gz", results


def content_of(results):
    return {p: p.read_bytes() for p in results.rglob("*.json")}


def test_a_study_goes_where_tuning_here_would_have_left_it(tuned):
    there, archive, results = tuned
    before = content_of(results)
    assert {p.relative_to(results) for p in before} == {p.relative_to(there) for p in content_of(there)}  # fmt: skip
    unpack(archive, results)
    assert content_of(results) == before


def test_studies_that_stopped_half_way_are_whole_and_completed(tuned, tmp_path, monkeypatch):
    """At every file: what is there can be read, no summary stands before its trials, and the archive goes on."""
    _, archive, whole = tuned
    write, results, left = archives.write_atomically, tmp_path / "again", []

    def until(*args):
        if not left:
            raise KeyboardInterrupt
        left.pop()
        write(*args)

    monkeypatch.setattr(archives, "write_atomically", until)
    n, last = len([p for p in (whole / "tune").rglob("*") if p.is_file()]), [STUDY.path, "study.json"]  # fmt: skip
    for written in range(n):
        left[:] = [None] * written
        with pytest.raises(KeyboardInterrupt):
            unpack(archive, results)
        for record in results.rglob("record.json"):
            records.check_files(record.parent, records.read_record(record.parent))
        assert len(content_of(results)) <= written and not results.joinpath(*last).exists()
    left[:] = [None] * n
    unpack(archive, results)
    assert {p.relative_to(results): c for p, c in content_of(results).items()} == {p.relative_to(whole): c for p, c in content_of(whole).items()}  # fmt: skip


def test_trials_of_another_machine_are_not_replaced(tuned):
    _, archive, results = tuned
    file = results / STUDY.trial_path(1) / "record.json"
    record = json.loads(file.read_text())
    file.write_bytes(records.sealed(record | {"environment": record["environment"] | {"machine": "f" * 12}}))  # fmt: skip
    before = content_of(results)
    with pytest.raises(UserError, match="trial-001: another trial stands here"):
        unpack(archive, results)
    assert content_of(results) == before


def test_another_study_in_its_place_is_not_replaced(tuned):
    _, archive, results = tuned
    file = results / STUDY.path / "study.json"
    content = json.loads(file.read_text())
    content["study"]["rungs"] = [[9, 1.0]]
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match="another study stands here"):
        unpack(archive, results)


def test_a_study_that_its_trials_contradict_is_refused(tuned, tmp_path):
    there, archive, _ = tuned
    file = there / STUDY.path / "study.json"
    content = json.loads(file.read_text())
    content["trials"][1]["value"] = 0.9
    file.write_text(json.dumps(content))
    pack(there, archive)
    with pytest.raises(UserError, match="trial 1 is not the one that the study names"):
        unpack(archive, tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere" / "tune").exists()
