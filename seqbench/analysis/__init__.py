"""From records to tidy tables: rows of what each record says, means over seeds with intervals, differences, fits. No sentence yet.

collect     the records of a grid, or what machines published (core.pool), in; tables (data frames) out
tidy        one record in, one value per row out (tidy_cost: measurements; probe_rows: for whom a model is good)
summary     means over seeds and differences between models, from groups of seeds (groups, resampling, significance)
scaling     how a cost grows and where two of them cross, from measured points (scaling_rows: as rows)
tables      all tables in one value; from some of them others: verdicts, protocols, costs, ladder, leaderboard, answers
claims      the paper's sentences beside our numbers; published_values: its table and the values of other works
budgets     how trainings came about (tuning, repeats); warnings: what a reader must know before trusting a number
"""
