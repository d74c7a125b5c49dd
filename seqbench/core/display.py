"""The model that the project's question is about, and how the models are written for people, in the order of every table."""

FOCAL_MODEL = "mamba4rec"
PARTIAL = frozenset({"bert4rec"})  # predict only a part of a step's targets: those that they mask
LABELS = {
    "mamba4rec": "Mamba4Rec",
    "sasrec": "SASRec",
    "bert4rec": "BERT4Rec",
    "gru4rec": "GRU4Rec",
    "popularity": "Popularity",
    "markov": "Markov (last item)",
    "itemknn": "ItemKNN",
}
