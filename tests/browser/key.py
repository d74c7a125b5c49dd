"""The key of the trial: the answers to its questions, from the tidy tables alone."""

from seqbench.report.format import label, machine_names

TRACK, SEEN, BASE = "matched", "kept", "ml-1m"
FOCAL, COMPARATOR = "mamba4rec", "sasrec"


def only(frame, **wanted):
    """The rows with these values."""
    for column, value in wanted.items():
        frame = frame[frame[column] == value]
    return frame


def one(frame, column, **wanted):
    """The one value that there is."""
    (value,) = only(frame, **wanted)[column].unique()
    return value


def board(tables, dataset, seq_len, kind):
    """Rows of the leaderboard: one view on the first machine of a kind."""
    rows = only(tables.frames["leaderboard"], dataset=dataset, seq_len=seq_len, track=TRACK,
                seen_items=SEEN, device_kind=kind)  # fmt: skip
    return only(rows, machine_name=rows.machine_name.iloc[0])


def winner(rows):
    return rows.loc[rows.ndcg.idxmax()]


def beats_all(tables, rows, model):
    """Whether a model is significantly better than every other trained one of a view."""
    view = rows.iloc[0]
    found = only(tables.frames["comparisons"], dataset=view.dataset, seq_len=view.seq_len, track=TRACK,
                 seen_items=SEEN, metric="ndcg@10")  # fmt: skip
    better = set(found[(found.model_a == model) & (found.verdict == "better")].model_b)
    better |= set(found[(found.model_b == model) & (found.verdict == "worse")].model_a)
    return set(rows[rows.trained].model) - {model} <= better


def best(tables):
    rows = board(tables, BASE, 200, "cpu")
    first = winner(rows)
    mark = ".best" if beats_all(tables, rows, first.model) else ":not(.best)"
    return {"label": label(first.model), "ndcg": first.ndcg, "mark": mark}


def faster(tables):
    rows = board(tables, BASE, 200, "cuda")
    machine = rows.machine_name.iloc[0]
    step = {"track": TRACK, "machine_name": machine, "phase": "train", "metric": "step_s"}
    curve = "length-at-constant-batch"
    crossing = one(tables.frames["crossovers"], "x", curve=curve, model_a=FOCAL, model_b=COMPARATOR, **step)  # fmt: skip
    ratio = one(tables.frames["cost_ratios"], "ratio", source=curve, seq_len=200, comparator=COMPARATOR, **step)  # fmt: skip
    return {
        "machine": machine, "machine_label": machine_names(tables.settings)[machine], "label": label(FOCAL),
        "focal": FOCAL, "comparator": COMPARATOR, "ratio": ratio, "crossing": crossing,
        "focal_s": one(rows, "epoch_s", model=FOCAL), "comparator_s": one(rows, "epoch_s", model=COMPARATOR),
    }  # fmt: skip


def memory(tables):
    claim = only(tables.frames["claims"], kind="cost", metric="peak_reserved_bytes", comparator=COMPARATOR).iloc[0]  # fmt: skip
    peak = only(tables.frames["cost_ratios"], metric="peak_allocated_bytes", phase="train", comparator=COMPARATOR,
                device_kind="cuda", seq_len=200)  # fmt: skip
    return {
        "claim": claim.claim, "verdict": claim.verdict, "claimed": claim.ratio_or_difference,
        "published": claim.published, "paper": one(peak, "ratio", track="paper", source="dataset"),
        "matched": one(peak, "ratio", track=TRACK),
    }  # fmt: skip


def short(tables):
    rows = board(tables, BASE, 50, "cpu")
    first = winner(rows)
    games = only(tables.frames["comparisons"], dataset="amazon-video-games", seq_len=50, track=TRACK,
                 seen_items=SEEN, metric="ndcg@10", model_a=FOCAL, model_b=COMPARATOR).iloc[0]  # fmt: skip
    return {
        "label": label(first.model), "model": first.model, "ndcg": first.ndcg, "quality_s": first.quality_s,
        "minutes": first.quality_s / 60, "percent": 100 * abs(games["share"]), "games": games.verdict,
    }  # fmt: skip


def trust(tables):
    warnings = only(tables.frames["warnings"], dataset="amazon-beauty")
    about = only(warnings, code="below_baseline", track=TRACK, seen_items=SEEN)
    worst = about.loc[(about.value / about.limit).idxmin()]
    return {
        "warned": about.model.nunique(), "worst": worst.model, "worst_label": label(worst.model),
        "baseline_label": label(worst.subject), "value": worst.value, "limit": worst.limit,
        "file": one(warnings, "text", code="substitute_file").split(";")[0],
    }  # fmt: skip


KEY = {"best": best, "faster": faster, "memory": memory, "short": short, "trust": trust}
