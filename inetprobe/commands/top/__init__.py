"""``inetprobe top``: what a run's sockets come to, as tables that are live or printed once.

One way, as everywhere: batches → collect.py (statistics, a Frame an interval) → tables.py (rows of a Frame) → once.py
(text) or screen.py (textual). drive.py keeps the source in a thread of its own, so that it never waits for the screen.
"""
