"""From tidy tables to what people read. Nothing is computed here: numbers are columns of the tables, sentences are literals of a template.

answer      verdicts, sentences, the leaderboard of every view; page: the one file; readme: the README's part, a machine's page
views       which tables stand in which part of the page; figures, figures_cost: which figures; style: how they look
format      how values are written; tables: cells, and writers for CSV, Markdown and LaTeX
publish     records are copied, and everything that is committed is made from the copies
"""
