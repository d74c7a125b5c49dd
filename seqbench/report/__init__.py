"""From tidy tables to what people read: figures, tables and the pages that hold them. Nothing is read from records here, except by `publish`.

report      the page of one results folder; publish, pages: the committed pages of a machine, of all together, the README's part
short       the answer and its table; scorecard, versus, both, tradeoff, time_to_quality, claims, published_values stand behind it
flags       warnings that stand above the results; findings: problems, who leads
tables      cells, rounding and writers; what fills them: views, costs, curves, spent, *_views, ablation
drawings    which figures there are; figures, figures_cost draw them, style has their colours, panels and files
"""
