"""The errors that latlas raises on purpose: one line each, saying what is wrong and what to do."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches

from latlas.text import printable, shortened

MOST_NAMES = 24  # that are listed beside a hint
MOST_OF_VALUE = 300  # characters of a wrong value that are said


class LatlasError(Exception):
    """Something failed that is not the caller's mistake (a full disk, a loss that is not finite); exit code 1.

    The message is one printable line, whatever names of files or columns it quotes.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


Settings = Mapping[str, object]


def in_words(settings: Settings) -> str:
    """Settings as the library has them: data.label = 'kind' and data.drop = ['a', 'b']."""
    return " and ".join(f"{key} = {value!r}" for key, value in settings.items())


class InputError(LatlasError):
    """The call or its data are wrong: names the file, field or value and what was expected; exit code 2.

    `field` is the argument of the call (`draws`) or the key of the configuration (`data.label`) that is wrong, and
    `value` what it was: "draws = 0: at least 1 is needed". The command line says its own option instead. `remedy` holds
    the settings that mend it, by key, each entry one way: the line ends in "with data.drop = ['id']".
    """

    def __init__(
        self, message: str, *, field: str = "", value: object = None, remedy: Sequence[Settings] = ()
    ) -> None:
        super().__init__(message)
        self.message, self.field, self.value, self.remedy = printable(message), field, value, remedy

    def __str__(self) -> str:
        return self.about(self.field)

    def about(self, name: str, equals: str = " = ", words: Callable[[Settings], str] = in_words) -> str:
        """The error's line, with the field called by that name, and the settings that mend it in these words."""
        value = self.value
        if value is not None:
            name += equals + (
                f"{value:g}" if isinstance(value, float) else shortened(printable(value), MOST_OF_VALUE)
            )
        line = f"{name}: {self.message}" if name else self.message
        return line + (f" with {', or '.join(map(words, self.remedy))}" if self.remedy else "")


def unknown(what: str, value: object, known: Iterable[str]) -> InputError:
    """The error for a name that is not among those known, with the nearest ones as a hint; a long list of the known
    names stands there only where none is near.
    """
    names, text = sorted(known), str(value)
    near = get_close_matches(text, names, n=1, cutoff=0.6)
    near = near or [name for name in names if text and text.lower() in name.lower()][:3]
    listed = f" (known: {', '.join(names)})" if len(names) <= MOST_NAMES or not near else ""
    near = near or get_close_matches(text, names, n=1, cutoff=0.5)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    return InputError(f"unknown {what} {text!r}{hint}{listed}")


def check_number(value: object, field: str, whole: bool = True) -> None:
    """Raises InputError for a value that is no number, or no whole one."""
    types = numbers.Integral if whole else numbers.Real
    if isinstance(value, bool) or not isinstance(value, types):
        expected = "a whole number" if whole else "a number"
        raise InputError(f"expected {expected}, got {type(value).__name__}", field=field, value=repr(value))


def one_or_many(names: object, field: str) -> list[str]:
    """One name, or a list of names, as a list.

    Raises InputError for anything else.
    """
    if isinstance(names, str):
        return [names]
    if isinstance(names, Iterable) and not isinstance(names, bytes | Mapping):
        given = list(names)
        if all(isinstance(name, str) for name in given):
            return given
    raise InputError(f"expected a name or a list of names, got {type(names).__name__}", field=field)


def alternatives(names: Sequence[str]) -> str:
    """The names as "a, b or c"."""
    return " or ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
