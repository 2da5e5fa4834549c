"""What root in the guest can send in place of the agent's messages."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from inetprobe.vm.guest import protocol
from inetprobe.vm.guest_messages import LONGEST, Booted, Ended, MessageError, MessageReader

BOOTED = protocol.line({"booted": "6.1.0"})
ENDED = protocol.line({"exit": 7, "stdout": 5, "stderr": 0})
COUNTS = st.integers(0, 2**62)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
KEYS = st.sampled_from(["booted", "exit", "stdout", "stderr"])
LINES = (
    st.dictionaries(KEYS, ANY | COUNTS, max_size=4).map(json.dumps).map(str.encode)
    | st.sampled_from([BOOTED[:-1], ENDED[:-1]])
    | st.binary()
)


@given(st.text(max_size=60), st.integers(0, 255), COUNTS, COUNTS, st.data())
def test_the_agent_s_messages_are_read_however_they_arrive(release, status, stdout, stderr, data):
    sent = protocol.line({"booted": release})
    sent += protocol.line({"exit": status, "stdout": stdout, "stderr": stderr})
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=4)))
    reader = MessageReader()
    received = [
        message
        for first, last in zip([0, *cuts], [*cuts, len(sent)], strict=True)
        for message in reader.feed(sent[first:last])
    ]
    assert received == [Booted(release), Ended(status, stdout, stderr)]


@given(st.lists(LINES, max_size=4).map(b"\n".join), st.integers(1, 50))
@example(b"[" * LONGEST + b"\n", LONGEST + 1)
@example(b'{"booted": "6.1.0"}\n{"exit": 1' + b"0" * (LONGEST // 2) + b', "stdout": 0, "stderr": 0}\n', 1 << 16)
def test_other_bytes_are_refused_and_nothing_else_happens(sent, size):
    reader, received = MessageReader(), []
    try:
        for start in range(0, len(sent), size):
            received += reader.feed(sent[start : start + size])
    except MessageError as error:
        assert len(str(error)) < 300
        assert str(error).isprintable()
    assert [type(message) for message in received] in ([], [Booted], [Booted, Ended])
    for message in received[1:]:
        assert all(type(number) is int and number >= 0 for number in message)
        assert message.status <= 255


def test_a_line_without_an_end_is_refused_before_it_fills_memory():
    reader = MessageReader()
    for _ in range(4):
        assert list(reader.feed(b"a" * 1000)) == []
    with pytest.raises(MessageError, match="a line of over 4,096 bytes"):
        list(reader.feed(b"a" * 1000))


@pytest.mark.parametrize("sent", [ENDED, BOOTED + BOOTED, BOOTED + ENDED + ENDED])
def test_a_message_out_of_turn_is_refused(sent):
    with pytest.raises(MessageError, match="out of turn"):
        list(MessageReader().feed(sent))
