"""``check``: the traces of recordings compared with the model, budgets and an older recording.

``examine`` reads a recording once, into sinks that count (``judged``, ``spending``, ``baseline``). Their findings are
the cases of ``result``, and each module of ``formats`` writes the cases in one format.
"""
