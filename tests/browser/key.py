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
    crossing = only(tables.frames["crossovers"], curve=curve, model_a=FOCAL, model_b=COMPARATOR, **step).iloc[0]  # fmt: skip
    ratio = one(tables.frames["cost_ratios"], "ratio", source=curve, seq_len=200, comparator=COMPARATOR, **step)  # fmt: skip
    return {
        "machine": machine, "machine_label": machine_names(tables.settings)[machine], "label": label(FOCAL),
        "focal": FOCAL, "comparator": COMPARATOR, "ratio": ratio, "low": crossing.low, "high": crossing.high,
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


def loss(tables, rows, best, model):
    """Upper end of what a trained model of a view loses to the best one, and the margin, both as shares of the best mean."""
    view = rows.iloc[0]
    found = only(tables.frames["comparisons"], dataset=view.dataset, seq_len=view.seq_len, track=TRACK,
                 seen_items=SEEN, metric="ndcg@10")  # fmt: skip
    ahead, behind = (only(found, model_a=a, model_b=b) for a, b in ((best, model), (model, best)))
    row = (ahead if len(ahead) else behind).iloc[0]
    most = row.ci_high if len(ahead) else -row.ci_low
    mean = row.mean_a if len(ahead) else row.mean_b
    return most / mean, row.margin / mean, row.verdict == ("better" if len(ahead) else "worse")


def taken(tables, dataset):
    """Of a view at L = 50 on a CPU: the row to take, and (model, loss) of the cheaper one that is open, if there is one."""
    rows = board(tables, dataset, 50, "cpu")
    rows = rows[rows.trained]
    best = winner(rows)
    found = {
        model: loss(tables, rows, best.model, model) for model in set(rows.model) - {best.model}
    }
    cheaper = rows[rows.inference_s_high < best.inference_s_low]
    able = cheaper[[found[model][0] < found[model][1] for model in cheaper.model]]
    row = able.loc[able.inference_s.idxmin()] if len(able) else best
    cheaper = rows[(rows.inference_s_high < row.inference_s_low) & (rows.model != row.model)]
    doubtful = {
        m: found[m][0] for m in cheaper.model if not found[m][2] and found[m][0] >= found[m][1]
    }
    return row, min(doubtful.items(), key=lambda item: item[1], default=None)


def short(tables):
    (row, _), (beauty, (doubt, lost)), (games, _) = (taken(tables, name) for name in (BASE, "amazon-beauty", "amazon-video-games"))  # fmt: skip
    return {
        "label": label(row.model), "model": row.model, "ndcg": row.ndcg, "inference_s": row.inference_s,
        "beauty": label(beauty.model), "beauty_open": label(doubt), "beauty_loss": 100 * lost, "games": label(games.model),
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
