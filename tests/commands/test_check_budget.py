"""budget.toml: what is accepted, what is refused and how, and the effect of each limit."""

import numpy as np
import pytest

from inetprobe.base.errors import UsageError
from inetprobe.commands.check.budget import Quantile, load
from inetprobe.commands.check.spending import Spending
from inetprobe.record.batch import Batch
from tests.support import builders


def budgets(tmp_path, body):
    path = tmp_path / "budget.toml"
    path.write_text(body)
    return load(path)


def case(tmp_path, limits, records=None):
    (budget,) = budgets(tmp_path, f'[[budget]]\nname = "b"\n{limits}\n')
    spending = Spending(budget)
    records = builders.every_kind() if records is None else records
    for part in np.array_split(records, 3):
        spending.batch(Batch(part), builders.run())
    return spending.case(builders.run())


def test_the_documented_example_is_accepted(tmp_path):
    (budget,) = budgets(
        tmp_path,
        """
        [[budget]]
        name = "no autoload by users"
        where = { uid = "!0" }              # any filter of the command line
        max_module_requests = 0
        max_failures = 3
        forbid_errno = ["EPERM"]
        max_duration = "5ms"
        p99 = { function = "inet_create", at_most = "50us" }
        """,
    )
    assert budget.where.describe() == ("uid=!0",)
    assert (budget.max_module_requests, budget.max_failures, budget.max_duration_ns) == (0, 3, 5_000_000)
    assert budget.forbid_errno == {1}
    assert budget.quantiles == (Quantile(99, "inet_create", 50_000),)


def test_every_filter_of_the_command_line_is_accepted(tmp_path):
    where = """{ pid = 7, comm = ["nginx*", "!nginx: old"], uid = "!0", cgroup = "/a", netns = 5, family = "inet",
    type = "stream", protocol = "tcp,udp", errno = "EPERM", failed = true, module_requests = true,
    "min-duration" = "1ms" }""".replace("\n", "")
    (budget,) = budgets(tmp_path, f'[[budget]]\nname = "b"\nmax_failures = 0\nwhere = {where}')
    assert budget.where.describe() == (
        "cgroup=/a", "comm=nginx*,!nginx: old", "errno=1", "family=2", "netns=5", "pid=7", "protocol=17,6", "type=1",
        "uid=!0", "failed", "module-requests", "min-duration=1000000ns",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("budget = ", "is not valid TOML"),
        ("n = " + "1" * 5000, "is not valid TOML"),
        ("", "begin each with a line [[budget]]"),
        ("[budget]\nname = 'b'", "begin each with a line [[budget]]"),
        ("[[budgets]]\nname = 'b'", "unknown key 'budgets': did you mean budget?"),
        ("[[budget]]\nmax_failures = 1", "budget 1: name is missing: give a string"),
        ("[[budget]]\nname = 'b'", "budget 1 (b) limits nothing: give one of max_module_requests"),
        ("[[budget]]\nname = 'b'\nmax_failure = 1", "unknown key 'max_failure': did you mean max_failures?"),
        ("[[budget]]\nname = 'b'\np98 = 1", "unknown key 'p98': did you mean p9"),
        ("[[budget]]\nname = 'b'\nzzz = 1", "unknown key 'zzz': there is name, where, max_module_requests"),
        ("[[budget]]\nname = 'b'\nmax_failures = -1", "max_failures is -1: give a whole number of at least 0"),
        ("[[budget]]\nname = 'b'\nmax_failures = true", "max_failures is True: give a whole number"),
        ("[[budget]]\nname = 'b'\nmax_failures = 1.5", "give a whole number"),
        ("[[budget]]\nname = 'b'\nforbid_errno = 'EPERM'", "forbid_errno is 'EPERM': give a list of names"),
        ("[[budget]]\nname = 'b'\nforbid_errno = ['EPERN']", "forbid_errno: unknown errno 'EPERN': did you mean EPERM"),
        ("[[budget]]\nname = 'b'\nmax_duration = 5", "max_duration is 5: give a duration in quotes"),
        ("[[budget]]\nname = 'b'\nmax_duration = '5 parsecs'", "max_duration: '5 parsecs' is not a duration"),
        ("[[budget]]\nname = 'b'\nmax_duration = '" + "9" * 400 + "s'", "too long: 292 years is the most"),
        ("[[budget]]\nname = 'b'\np99 = '5ms'", "p99 is '5ms': give { function ="),
        ("[[budget]]\nname = 'b'\np99 = { function = 'sk_alloc' }", "p99.at_most is missing: give a duration"),
        ("[[budget]]\nname = 'b'\np99 = { at_most = '1s' }", "p99.function is missing: give a kernel function"),
        (
            "[[budget]]\nname = 'b'\np99 = { function = 'sk_alloc', atmost = '1s' }",
            "p99: unknown key 'atmost': did you mean at_most?",
        ),
        ("[[budget]]\nname = 'b'\nmax_failures = 1\nwhere = 'uid'", "where is 'uid': give filters by name"),
        (
            "[[budget]]\nname = 'b'\nmax_failures = 1\nwhere = { uuid = 1 }",
            "where: unknown key 'uuid': did you mean uid",
        ),
        (
            "[[budget]]\nname = 'b'\nmax_failures = 1\nwhere = { family = 'inett' }",
            "where.family: unknown family 'inett': did you mean AF_INET",
        ),
        (
            "[[budget]]\nname = 'b'\nmax_failures = 1\nwhere = { pid = 'x' }",
            "where.pid: 'x' is not a number below 2^32",
        ),
        (
            "[[budget]]\nname = 'b'\nmax_failures = 1\nwhere = { pid = [] }",
            "where.pid is []: give a number, a string",
        ),
        ("[[budget]]\nname = 'b'\nmax_failures = 1\nwhere = { failed = 1 }", "where.failed is 1: give true or false"),
        ("[[budget]]\nname = 'b'\nmax_failures = 1\n" * 2, "two budgets have the name 'b'"),
        ("[[budget]]\nname = 'b'\nwhere = 0x" + "f" * 5000 + "\nmax_failures = 1", "where is a number of 20,000 bits"),
        (
            "[[budget]]\nname = 'b'\nmax_failures = 1\nwhere = { pid = 0x" + "f" * 5000 + " }",
            "where.pid is a number of 20,000 bits: give a number",
        ),
        ('[[budget]]\nname = "b"\nmax_failures = 1\nwhere = { netns = "a\\u0000b" }', "where.netns: 'a\\x00b'"),
        ('[[budget]]\nname = "b"\nmax_failures = 1\nwhere = { uid = "a\\u0000b" }', "where.uid: 'a\\x00b' is neither"),
        ('[[budget]]\nname = "a\\nb"', "budget 1 (a\\x0ab) limits nothing"),
        (f"[[budget]]\nname = '{'n' * 5000}'", "…) limits nothing"),
        ("x" * 5000 + " = 1", "unknown key 'xxx"),
        (f"[{'x' * 5000}]\n[{'x' * 5000}]", "is not valid TOML"),
    ],
)
def test_a_bad_file_is_one_sentence_with_file_and_key(tmp_path, body, says):
    with pytest.raises(UsageError) as caught:
        budgets(tmp_path, body)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'budget.toml'}")
    assert says in message
    assert "\n" not in message
    assert len(message) < 600


def test_a_missing_file_and_a_binary_one(tmp_path):
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        load(tmp_path / "none.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="is not valid TOML"):
        load(tmp_path / "b.toml")


@pytest.mark.parametrize(
    ("limits", "status", "says"),
    [
        ("max_module_requests = 4", "passed", "4 module requests, at most 4 allowed"),
        ("max_module_requests = 3", "failed", "4 module requests, at most 3 allowed"),
        ("max_module_requests = 0\nwhere = { uid = '!0' }", "passed", "0 module requests"),
        ("max_failures = 3", "passed", "3 failures"),
        ("max_failures = 2", "failed", "3 failures, at most 2 allowed"),
        ("forbid_errno = ['EPERM', 'ENOMEM']", "failed", "forbidden: ENOMEM 1, EPERM 1"),
        ("forbid_errno = ['EACCES']", "passed", "no EACCES"),
        ("max_duration = '500ms'", "passed", "the longest took 500ms"),
        ("max_duration = '499ms'", "failed", "the longest took 500ms, at most 499ms allowed"),
        ("p50 = { function = 'sk_prot_alloc', at_most = '2us' }", "passed", "p50 of sk_prot_alloc is 2µs"),
        ("p90 = { function = 'inet6_create', at_most = '8us' }", "failed", "p90 of inet6_create is 9µs"),
        (
            "p95 = { function = 'inet6_create', at_most = '1us' }\nwhere = { family = 2 }",
            "skipped",
            "no call was recorded",
        ),
        ("p99 = { function = 'inet_crate', at_most = '8us' }", "unjudged", "was not traced in this recording"),
        ("max_failures = 0\nwhere = { comm = 'nobody' }", "skipped", "no socket matches its where"),
        ("max_failures = 0\nmax_module_requests = 9", "failed", "3 failures, at most 0 allowed"),
    ],
)
def test_what_a_limit_catches(tmp_path, limits, status, says):
    found = case(tmp_path, limits)
    assert found.status == status, found
    assert says in found.message


def test_a_failed_budget_names_the_first_sockets(tmp_path):
    found = case(tmp_path, "max_failures = 0")
    assert [line.split()[0] for line in found.details] == ["1-3", "1-5", "1-8"]
    assert "socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) = -1 EPERM" in found.details[0]


def test_an_unseen_end_counts_for_no_duration_limit(tmp_path):
    missed = builders.every_kind()[8:9]
    assert case(tmp_path, "max_duration = '0ns'", missed).status == "skipped"
