"""What the live tests wrote down is read: the table, and the rules that no trace had."""

import json

from inetprobe.model.rules import Rule
from tools import books

ROW = {"kernel": "6.1.0-50-amd64", "case": "test_known[kprobe]", "argv": ["trace", "--mechanism", "kprobe"]}
SUMMARY = "23 calls, 13 failed (EINVAL 2, EPERM 11), 20 complete, 3 incomplete (entry_missed 3), 0 lost, 1 filtered out"


def written(folder, *rows):
    path = folder / "books-6.1-live-1.jsonl"
    path.write_text("".join(json.dumps(ROW | row) + "\n" for row in rows))
    return path


def test_each_run_is_a_row(tmp_path):
    path = written(tmp_path, {"summary": SUMMARY, "rules": []}, {"summary": "1 call, 1 complete, 0 incomplete, 0 lost"})
    assert books.table(path) == [
        "known | 6.1 | kprobe | 23 | 13 | 20 | 3 | 0 | 1 filtered out",
        "known | 6.1 | kprobe | 1 |  | 1 | 0 | 0 | ",
    ]


def test_a_rule_that_no_trace_had_fails(tmp_path, capsys):
    seen = [rule for rule in Rule if rule not in books.UNSEEN]
    assert books.check_rules([written(tmp_path, {"rules": seen[:9]}, {"rules": seen[8:]})]) == 0
    assert books.check_rules([written(tmp_path, {"rules": seen[1:]})]) == 1
    assert f"not seen: {seen[0]}\n" in capsys.readouterr().out
