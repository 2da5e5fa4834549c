"""Stacks by number, in bounded memory."""

from inetprobe.record import stacks
from inetprobe.record.stacks import TOO_MANY, Side, Stack, Stacks


def test_names_of_strangers_take_bounded_memory(monkeypatch):
    """B5: 65,536 stacks of 64 names of 256 characters were a gigabyte."""
    monkeypatch.setattr(stacks, "_MOST_CHARACTERS", 100)
    kept, lost = Stacks(), Stack(None, Side((), TOO_MANY))
    numbers = [kept.number(Stack(None, Side((f"{n}" * 30,)))) for n in range(6)]
    assert [kept.get(number) == lost for number in numbers] == [False] * 3 + [True] * 3
    assert kept.number(Stack(None, Side(("0" * 30,)))) == numbers[0]
