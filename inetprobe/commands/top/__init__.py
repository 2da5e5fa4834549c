"""``inetprobe top``: tables of a run's sockets, live or printed once.

Batches → collect.py (statistics, one Picture per interval) → tables.py (rows of a Picture) → once.py (text) or
screen.py (textual). drive.py runs the source in its own thread, so that it never waits for the screen.
"""
