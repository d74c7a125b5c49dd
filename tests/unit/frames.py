"""Hand-made tidy tables for tests of the report, and readers of the tables made from them."""

import pandas as pd
from builders import REPORT, write_grid

from seqbench.analysis import collect
from seqbench.analysis.collect import Tables

NUMBERS = {
    "mean_a": 0.1,
    "mean_b": 0.08,
    "difference": 0.02,
    "ci_low": 0.01,
    "ci_high": 0.04,
    "p_margin": 0.001,
}


def verdicts(rows):
    """Tables of comparisons alone: (track, model_a, model_b, seen_items, verdict, seeds, length)."""
    keys = ("track", "model_a", "model_b", "seen_items", "verdict", "trained_seeds", "seq_len")
    comparisons = [{**dict(zip(keys, row, strict=True)), "metric": "ndcg@10", "dataset": "toy", **NUMBERS} for row in rows]  # fmt: skip
    models = sorted({name for row in rows for name in row[1:3]})
    experiments = [
        {
            "model": m, "track": track, "dataset": "toy", "seq_len": 50, "kind": "train", "status": "ok",
            "trained": m != "popularity", "still_improving": False, "path": f"{track}/{m}",
        }
        for m in models
        for track in {row[0] for row in rows}
    ]  # fmt: skip
    frames = {name: pd.DataFrame() for name in ("efficiency", "scaling", "summary")}
    frames |= {"comparisons": pd.DataFrame(comparisons), "experiments": pd.DataFrame(experiments)}
    frames |= {
        name: pd.DataFrame() for name in ("curves", "crossovers", "effectiveness", "contrasts")
    }
    return Tables(frames, {}, REPORT)


def pair(track, a, b, verdicts, seeds=3, seq_len=50):
    return [(track, a, b, m, v, seeds, seq_len) for m, v in zip(("kept", "excluded"), verdicts, strict=True)]  # fmt: skip


def cost(model, median, **changes):
    """A row of `efficiency`: a training step on a dataset, unless it is said otherwise."""
    base = {"track": "matched", "machine_name": "m", "device": "cpu", "device_kind": "cpu", "dataset": "toy", "seq_len": 50,
            "n_items": 300, "curve": None, "fixed": None, "sequences": None, "threads": 1, "phase": "train", "metric": "step_s", "backend": "numba", "batch_size": 2048, "precision": "fp32"}  # fmt: skip
    row = base | changes
    job = f"{row['dataset']}/L{row['seq_len']}/{row['machine_name']}"
    quartiles = {"q25": 0.99 * median, "q75": 1.01 * median}
    return quartiles | row | {"model": model, "median": median, "path": f"{job}/{model}"}


def comparison(comparator, verdicts, seq_len=50, seeds=3):
    return [
        {"track": "matched", "dataset": "toy", "seq_len": seq_len, "metric": "ndcg@10", "seen_items": seen_items, "verdict": verdict,
         "model_a": "mamba4rec", "model_b": comparator, "mean_a": 0.1, "mean_b": 0.08, "difference": 0.02, "ci_low": 0.01,
         "ci_high": 0.04, "p_margin": 0.001, "trained_seeds": seeds}
        for seen_items, verdict in zip(("kept", "excluded"), verdicts, strict=True)
    ]  # fmt: skip


def tables(comparisons, costs, crossovers=()):
    models = {"mamba4rec", *(row["model_b"] for row in comparisons)}
    experiments = [
        {"model": m, "track": "matched", "dataset": "toy", "seq_len": row["seq_len"], "kind": "train", "status": "ok", "trained": True,
         "targets_per_step": 2048, "precision": "fp32", "hyperparameters": "{}", "still_improving": False, "path": f"{m}/L{row['seq_len']}"}
        for m in models for row in comparisons or [{"seq_len": 50}]
    ]  # fmt: skip
    rows = {"comparisons": comparisons, "efficiency": costs, "crossovers": crossovers, "experiments": experiments}  # fmt: skip
    frames = {name: pd.DataFrame(list(found)) for name, found in rows.items()}
    return Tables(
        frames
        | {
            "summary": pd.DataFrame(),
            "contrasts": pd.DataFrame(),
            "curves": pd.DataFrame(),
            "effectiveness": pd.DataFrame(),
        },
        {"toy": {"n_items": 300}},
        REPORT,
    )


WINDOWS = {
    "dataset": "full-length",
    "curve": "length-at-constant-batch",
    "fixed": "8 sequences a batch, 300 items",
    "sequences": 8,
}


NO_COST = ("nothing", "another curve", "failures")


def without_cost(left):
    """Tables of one comparison without a cost that could be used: what is left of it."""
    costs = [cost("mamba4rec", 1.0), cost("sasrec", 2.0)]
    if left == "another curve":
        costs = [{**row, "curve": "catalogue-size"} for row in costs]
    content = tables(comparison("sasrec", ("better", "better")), [] if left == "nothing" else costs)
    if left == "failures":
        content.frames["efficiency"]["median"] = float("nan")
    return content


def crossing(
    comparator,
    ends,
    x=None,
    bracketed=False,
    extrapolated=False,
    curve="length-at-constant-batch",
    share=None,
    threads=1,
):
    share = float(x is not None) if share is None else share  # of the resamples that cross
    return {"track": "matched", "machine_name": "m", "device_kind": "cpu", "curve": curve, "phase": "train",
            "fixed": "8 sequences a batch" if curve == "length-at-constant-batch" else "64 tokens a batch", "metric": "step_s", "model_a": "mamba4rec", "model_b": comparator, "x": x, "low": 200.0, "high": 8192.0,
            "bracketed": bracketed, "extrapolated": extrapolated, "share": share, "threads": threads, "x_min": 50.0, "x_max": 8192.0,
            "cheaper_min": ends[0], "cheaper_max": ends[1], "ratio_max": 0.5 if ends[1] == "mamba4rec" else 2.0}  # fmt: skip


VALIDATIONS = {  # values of three seeds at steps 100, 200, ...
    "mamba4rec": ([0.090, 0.100, 0.110], [0.096, 0.097, 0.120], [0.090, 0.100, 0.110]),
    "sasrec": ([0.050, 0.080, 0.094, 0.100], [0.060, 0.093, 0.100], [0.050, 0.080, 0.094, 0.100]),
    "gru4rec": ([0.010, 0.099, 0.090], [0.010, 0.020, 0.030], [0.010, 0.020, 0.030]),
}


def trained(looks=None, costs=(), seq_len=50, **changes):
    """Learning curves with seen items kept and, twice as high, excluded; everything of one condition."""
    curves = [
        {"path": f"{model}/s{seed}", "track": "matched", "dataset": "toy", "seq_len": seq_len, "model": model, "step": 100 * k, "targets": 1000 * k, "best": k == len(values),
         "split": split, "seen_items": seen_items, "metric": "ndcg@10", "value": value * (2 if seen_items == "excluded" else 1)}
        for model, seeds in (looks or VALIDATIONS).items() for seed, values in enumerate(seeds) for k, value in enumerate(values, 1)
        for split in ("valid", "test") for seen_items in ("kept", "excluded")
    ]  # fmt: skip
    comparators = [m for m in (looks or VALIDATIONS) if m != "mamba4rec"]
    found = tables(
        [row for r in comparators for row in comparison(r, ("better",) * 2, seq_len)], list(costs)
    )
    found.frames["curves"] = pd.DataFrame([row | changes for row in curves])
    once = found.frames["experiments"].drop_duplicates()
    seeds = once.model.map({model: len(values) for model, values in (looks or VALIDATIONS).items()})
    every = once.loc[once.index.repeat(seeds.fillna(1).astype(int))]
    paths = every.model + "/s" + every.groupby("model").cumcount().astype(str)
    found.frames["experiments"] = every.assign(path=paths, still_improving=False)
    return found


PRICES = [cost("mamba4rec", 0.6), cost("sasrec", 0.2), cost("gru4rec", 0.1)]


def tables_of(results, wanted, change=lambda: None):
    """All tidy tables of these records; change: done after they are written."""
    write_grid(results, wanted)
    change()
    entries = collect.load(wanted, results)
    return collect.build(entries, {"toy": collect.read_dataset(results, "toy")}, REPORT)


def cells(table):
    """Cells by heading, first cell and column."""
    found, heading = {}, ""
    for row in table.rows:
        if len(row) == 1:
            heading = row[0].text
            continue
        for column, cell in zip(table.columns[1:], row[1:], strict=True):
            found[heading, row[0].text, column.text] = cell
    return found


PLACE = "toy, L = 50"


def published_value(**changes):
    base = {"dataset": "toy", "seq_len": 50, "model": "sasrec", "seen_items": "kept", "hr@10": 0.3, "ndcg@10": 0.2,
            "source": "a paper", "note": "as told"}  # fmt: skip
    return base | changes
