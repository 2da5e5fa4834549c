"""``check``: every trace of a recording held against the model, budgets and an older recording.

``examine`` reads one recording once, into sinks that count (``judged``, ``budget``, ``baseline``); what they found are
the cases of ``result``, and each module of ``formats`` writes those in one format.
"""
