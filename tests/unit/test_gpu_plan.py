"""What gpu-check would do: which jobs in which order, on which data, and what of it is done already."""

import json

from gpu_grid import plan_with

from seqbench.analysis import claims, scaling
from tools.gpu import plan as planning


def test_the_papers_point_comes_first_and_the_core_is_short(tmp_path):
    core, every = (
        list(planning.jobs(plan_with(tmp_path))),
        list(planning.jobs(plan_with(tmp_path, every=True))),
    )
    assert len(core) == 2 + len(planning.CORE_LENGTHS) >= 2 + scaling.FEWEST_POINTS
    assert len(every) == 2 * (1 + 8 + 8 + 5 + 4) and {job.rounds for job in every} == {3}
    assert {job.path for job in core} <= {job.path for job in every}
    assert [(job.track, job.curve) for job in (core[0], core[-1])] == [
        ("paper", None),
        ("matched", None),
    ]
    points = core[1:-1]
    assert [job.seq_len for job in points] == list(planning.CORE_LENGTHS)
    assert {(job.track, job.curve) for job in points} == {("matched", "length-at-constant-batch")}
    assert min(job.rounds for job in core) >= claims.ROUNDS  # fewer would decide none of them
    asked = [planning.ask(plan_with(tmp_path), job) for job in core]
    assert {a.phases for a in asked} == {
        ("train", "inference")
    }  # the paper's claims are about both
    inference = {job.eval_batch for job in every if job.curve == "batch-size"}
    assert 4096 in inference  # the paper's batch


def test_a_given_dataset_takes_the_place_of_the_generated_one(tmp_path, tiny):
    chosen = plan_with(tmp_path, data=tiny)
    name = json.loads((tiny / "dataset.json").read_text())["name"]
    assert [job.dataset for job in planning.jobs(chosen) if not job.curve] == [name, name]
    assert planning.dataset(chosen) == tiny
    assert (tmp_path / "results/data" / name / "dataset.json").exists()


def test_tiny_and_whole_runs_share_no_data_and_a_given_dataset_may_be_tried_tiny(tmp_path, tiny):
    names = [planning._name(plan_with(tmp_path, tiny=small)) for small in (False, True)]
    assert names == ["generated", "generated-tiny"]
    chosen = plan_with(tmp_path, data=tiny, tiny=True)
    name = json.loads((tiny / "dataset.json").read_text())["name"]
    assert {job.dataset for job in planning.jobs(chosen)} == {name, "full-length"}


def test_a_job_is_done_only_with_the_same_description_code_and_data(tmp_path, monkeypatch):
    from seqbench.core import provenance
    from seqbench.core.records import write_record
    from seqbench.hardware.environment import environment

    job = next(planning.jobs(plan_with(tmp_path, tiny=True)))
    given = {"name": "generated", "hash": "a" * 64}
    (tmp_path / "dataset.json").write_text(json.dumps(given))
    (tmp_path / "users.npz").write_bytes(b"")
    chosen = plan_with(tmp_path, data=tmp_path)

    def leave(
        status="ok", phases=("train", "inference"), where=None, data=given["hash"], **changes
    ):
        where = where or environment("cpu", 1)
        asked = job.for_model("sasrec") | changes
        facts = {"name": "generated", "hash": data}
        write_record(
            chosen.results / job.path / "sasrec", kind="measure", status=status, job=asked,
            values={"sampler": {key: [{}] for key in phases}, "failed": {}}, environment=where, data=facts, identity=provenance.provenance(provenance.measuring("sasrec")),
        )  # fmt: skip

    assert not planning.is_done(chosen, job)
    leave()
    assert planning.is_done(chosen, job)
    leave("oom")
    assert planning.is_done(chosen, job)  # an answer too
    leave("crashed")
    assert not planning.is_done(chosen, job)
    leave(rounds=99)
    assert not planning.is_done(chosen, job)
    leave(phases=("train",))  # of a core that asked for less
    assert not planning.is_done(chosen, job)
    leave(data="b" * 64)
    assert not planning.is_done(chosen, job)
    leave(where=environment("cpu", 1) | {"machine": "another"})
    assert not planning.is_done(chosen, job)
    leave()
    monkeypatch.setattr(provenance, "measuring", lambda _: "other")
    assert not planning.is_done(chosen, job)
