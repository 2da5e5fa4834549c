"""A page is held against what is printed: a wrong word is seen, another time is not. The tutorial is such a page."""

import pytest

from tests.support import examples, tutorial_page
from tests.support.tutorial_page import File, Step

PAGE = """\
In `app.py`:

```python
import socket
```

Then `this`:
```console
$ echo one
one pid 12 took 1.5ms
two
$ true
```
"""
SHOWN = ("inetprobe: tracing", "one pid 12", "app: no")


def test_files_and_steps():
    assert tutorial_page.parse(PAGE) == [
        File("app.py", "import socket\n"),
        Step("echo one", ("one pid 12 took 1.5ms", "two"), 9),
        Step("true", (), 12),
    ]
    with pytest.raises(AssertionError, match="line 2 is no command: 'one'"):
        tutorial_page.parse("```console\none\n```")


@pytest.mark.parametrize(
    ("out", "err"),
    [
        (["one pid 77"], ["inetprobe: tracing", "app: no"]),
        (["inetprobe: tracing", "one pid 12", "app: no"], []),
        (["app: no", ""], ["inetprobe: tracing", "", "one pid 1"]),
    ],
)
def test_streams_mix_as_they_like(out, err):
    assert tutorial_page.difference(Step("x", SHOWN, 0), out, err, [*err, *out]) is None


@pytest.mark.parametrize(
    ("out", "err"),
    [
        (["one pid 12"], ["app: no", "inetprobe: tracing"]),
        (["two pid 12"], ["inetprobe: tracing", "app: no"]),
        (["one pid 12"], ["inetprobe: tracing"]),
        (["one pid 12", "one pid 12"], ["inetprobe: tracing", "app: no"]),
        ([], []),
    ],
)
def test_a_line_too_many_too_few_wrong_or_elsewhere_is_seen(out, err):
    said = tutorial_page.difference(Step("x", SHOWN, 0), out, err, [*err, *out])
    assert said.startswith("$ x\n--- page\n+++ printed\n")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a() 1.5ms  256", "a()    76µs  256", True),
        ("a() 1.5ms  256", "a() 1.5ms  0", False),
        ("a() 1.5ms  256", "a()  256", False),
        ("  01:02:03.5 python3 pid 3 uid 0", "  11:22:33.123456 python3 pid 345 uid 0", True),
        ("pid 3 uid 0", "pid 3 uid 1", False),
        ("04:11:22.53     313 python3  2    210ms ok", "04:11:22.5379   31 python3  2   1.21ms ok", True),
        ("04:11:22.53     313 python3  2    210ms ok", "04:11:22.53     313 python3  3    210ms ok", False),
        ("      1-12 python3 uid 0", "      0-1 python3 uid 0", True),
        ("ok  (6.1.0-50-amd64)", "ok  (6.1.0-51-amd64)", True),
        ("2 module requests", "3 module requests", False),
        ("/etc/modprobe.d/a.conf:1", "/etc/modprobe.d/a.conf:2", False),
    ],
)
def test_what_may_differ(one, other, same):
    assert (tutorial_page.alike([one]) == tutorial_page.alike([other])) is same


def test_a_long_line_is_folded_and_no_word_is_lost():
    line = "  " + " ".join(["word-with-hyphens"] * 20)
    folded = tutorial_page.fold([line, "short  one "])
    assert max(map(len, folded)) <= tutorial_page.WIDTH
    assert (folded[0][:3], folded[1][:5], folded[-1]) == ("  w", "    w", "short  one")
    assert " ".join(folded[:-1]).split() == line.split()


def test_only_what_differs_is_written_anew():
    again = tutorial_page.renewed(PAGE, [None, ["now", "", "three ", "", " "]])
    assert again == PAGE.replace("$ true\n", "$ true\nnow\n\nthree\n")
    assert tutorial_page.parse(tutorial_page.renewed(PAGE, [["1"], []]))[1:] == [
        Step("echo one", ("1",), 9),
        Step("true", (), 11),
    ]


def test_the_tutorial_is_such_a_page():
    page = (examples.ROOT / "docs/tutorial.md").read_text()
    parts = tutorial_page.parse(page)
    steps = [part for part in parts if isinstance(part, Step)]
    assert [part.name for part in parts if isinstance(part, File)] == ["app.py", "budget.toml"]
    assert len(steps) == page.count("\n$ ") > 15
    for step in steps:
        assert tuple(tutorial_page.fold(step.shown)) == step.shown
