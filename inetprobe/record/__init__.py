"""One record a socket: its layout, a batch of them, where each went, a file of them.

The kernel sends records (``layout``) in batches (``batch``), whose calls are read as flat columns (``calls``).
``nesting`` checks that the calls of each record nest. Records that differ only in process, place and time have one
shape (``shapes``): whatever depends on the shape alone is computed once for all of them. ``filter`` chooses records,
``measures`` and ``self_time`` read numbers from them, ``run`` and ``accounting`` hold what is true of all of them
together, and ``arrow`` writes and reads recordings.

Crafted recordings
------------------
A recording may come from anyone, and may be made to crash its reader or to exhaust its memory or time. Against this:

* every message is looked at before Arrow acts on it (``arrow/guard``), and every column and all metadata are validated
  before they are used (``arrow/columns``, ``arrow/metadata``); what is wrong raises RecordingError;
* records whose calls do not nest are counted as lost and never shown (``nesting``);
* whatever is remembered by shape, name, path or stack is bounded, by a maximum that no real run reaches: caches start
  again, counts go to a rest, and stacks beyond the maximum become one;
* hashes are salted per process (``shapes``), so that a recording cannot make its rows collide;
* numbers are added up where they cannot overflow, as Python integers or by halves;
* text is escaped before it reaches a terminal (``inetprobe.base.text``).
"""
