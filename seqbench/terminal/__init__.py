"""What the verbs `results`, `compare` and `plan` find out and print.

compare     two folders of records held against each other
plan        what a configuration will cost, from records of the nearest machine
show        their rows, and the leaderboard, as aligned text
"""
