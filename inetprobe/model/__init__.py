"""inet_create() in plain Python: given a request and a machine, it yields the errno, the traced calls and the reason.

It needs the standard library and ``base`` alone. In the order in which to read it:

- ``inet_create``: the path of one socket() through the kernel, decision by decision; start here
- ``inetsw``, ``protocols``: the table of protocols, its lookup, and the entries that register in it
- ``rules``, ``reasons``: the rules that decide, and the sentence for an outcome
- ``features``: the changes between kernels; ``profile``: the facts about one machine
- ``world``: the questions that inet_create asks, and ``Machine``, which has one answer to each
- ``ways``: every way that inet_create can go; ``judge``: did a real trace go one of them?
- ``inet_sock``: the fields of the new sock, predicted
- ``question``: a request as people type it, answered

Nothing is imported here: reading a recording needs only ``profile``.
"""
