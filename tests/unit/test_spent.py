"""What the trainings took, from records that say so."""

from builders import plan, write_training
from frames import tables_of

from seqbench.report import spent


def test_what_was_spent_counts_trainings_and_those_the_budget_ended(tmp_path):
    wanted = plan()

    def change():
        entry = next(t for t in wanted["trainings"] if t["model"] == "sasrec")
        write_training(tmp_path, entry, values={"stopped": "max_steps", "still_improving": True})

    tables = tables_of(tmp_path, wanted, change)
    rows = {row[0].text: row for row in spent.table(tables, "matched").rows if len(row) > 1}
    assert set(rows) == {"Mamba4Rec", "SASRec", "GRU4Rec"}
    assert rows["SASRec"][5].text == "1 of 3"
