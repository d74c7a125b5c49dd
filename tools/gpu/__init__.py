"""One command for a machine with a GPU that has neither network nor Snakemake: checks, costs, trainings, all in one archive.

command     the parts, in order, within a budget of seconds (plan: what each does and what is done; state: what is kept between calls)
training    short trainings, and those of a grid and its studies, several at once
scan_bench  times of the selective scan by backend
bundle      the archive: packed there, unpacked into results/reference here
"""
