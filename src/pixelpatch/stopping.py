"""Signals that ask a process to stop: noted when they come, obeyed where nothing is lost by it."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Ctrl-C, and a scheduler's two: "end now", and the warning that it can be told to give before a job's time is up.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Stopped(Exception):
    """The process was asked to stop by `signal`, and did so where it can go on from."""

    def __init__(self, message: str, number: int = signal.SIGTERM) -> None:
        super().__init__(message)
        self.number = number


class Paused(Exception):
    """A run has come as far as it was to go for now; its state is saved."""


@contextmanager
def held_back() -> Iterator[None]:
    """Have these signals wait, also for programs started within: schedulers signal every process of a job."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Stop:
    """Whether the process was asked to stop: true from the first signal on."""

    def __init__(self) -> None:
        self.number: int | None = None

    def listen(self) -> "Stop":
        """Note the signals from now on; the process no longer ends by them, but for a second Ctrl-C."""
        for number in SIGNALS:
            signal.signal(number, self._note)
        return self

    def __bool__(self) -> bool:
        return self.number is not None

    def stopped(self, name: str, where: str) -> Stopped:
        """The exception to raise where the run `name` can stop, and that place in words."""
        number = self.number or signal.SIGTERM
        return Stopped(f"{name}: stopped by {signal.Signals(number).name} {where}", number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == self.number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number
