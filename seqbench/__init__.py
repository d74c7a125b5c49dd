"""seqbench: how sequential recommenders are compared (data, training, evaluation, measuring, statistics, report)."""
