"""Our training against other libraries' in one run: ``make bench-peers``.

One long-lived process per contestant, each in its library's own environment, and one orchestrator that asks them in
turn. What a contestant does is in ``ours.py``, ``rectools_worker.py``, ``replay_worker.py``, ``recbole_worker.py``.
"""
