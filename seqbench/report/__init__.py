"""From tidy tables to what people read: figures, tables, sentences, and the pages that hold them. Nothing is read from records here,
except by `publish`, which copies them.

report      the page of one results folder; publish, pages: the committed pages of a machine, of all together, the README's part
brief       the answer in brief, and what it rests on: short, points, standing, headline, scorecard, versus, tradeoff, both, reach, shorter, claims, published_values
answers     the page of findings, a question each: findings, curves, seen_items_gap, changes
flags       warnings that stand above the results
tables      cells, rounding and writers; what fills them: views, glance, costs, spent, *_views, ablation
drawings    which figures there are; figures, figures_cost draw them, look says how they look
"""
