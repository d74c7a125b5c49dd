"""Has a change made anything slower, larger or different? Three tiers, each with its own evidence.

golden    what is the same on every run: counts, and metrics of a tiny training, against committed values
pairs     wall time, base against head on one machine in one job, at the same time on one CPU, with a verdict that may be "cannot tell"
history   records of one machine over time, with change points; informs, never fails
"""
