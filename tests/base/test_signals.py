import signal

from inetprobe.base.signals import handled


def test_the_previous_handlers_are_back_afterwards():
    before = signal.getsignal(signal.SIGUSR1)
    received = []
    with handled([signal.SIGUSR1], lambda number, _frame: received.append(number)):
        signal.raise_signal(signal.SIGUSR1)
    assert received == [signal.SIGUSR1]
    assert signal.getsignal(signal.SIGUSR1) == before
