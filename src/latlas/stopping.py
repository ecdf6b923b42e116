"""The signals that ask a process to stop."""

from __future__ import annotations

import signal

HANGUP = getattr(signal, "SIGHUP", None)


def signals() -> tuple[int, ...]:
    """Ctrl-C, SIGTERM, and SIGHUP, with which a terminal that closes ends its processes: but not where nohup, or
    whoever started this process, has it ignored.
    """
    asking = [signal.SIGINT, signal.SIGTERM]
    if HANGUP is not None and signal.getsignal(HANGUP) is not signal.SIG_IGN:
        asking.append(HANGUP)
    return tuple(asking)


def interrupt_when_asked() -> None:
    """Makes them all raise KeyboardInterrupt, as Ctrl-C does by itself."""
    for number in signals():
        if number != signal.SIGINT:
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
