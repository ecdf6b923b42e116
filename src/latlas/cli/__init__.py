"""The command line: parses, calls `latlas.api`, prints; nothing else."""

from __future__ import annotations

import csv
import gc
import io
import os
import re
import shlex
import sys
import traceback
from types import TracebackType
from typing import Any

import typer

from latlas import places, stopping
from latlas._version import __version__
from latlas.cli import (
    animate,
    compare,
    diagnose,
    evaluate,
    explore,
    export,
    inspect,
    log,
    make,
    score,
    streams,
    studies,
    train,
    use,
)
from latlas.errors import InputError, LatlasError, Settings, in_words
from latlas.invocation import invoked_by, worded
from latlas.text import printable, visible

app = typer.Typer(
    name="latlas",
    help="Learn, measure and show the latent space of your data "
    "with autoencoders and variational autoencoders.",
    epilog="Start with: latlas train fashion-mini. "
    "Add --debug to any command to see where an error came from.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for module in (
    train,
    evaluate,
    diagnose,
    score,
    use,
    make,
    animate,
    explore,
    export,
    compare,
    studies,
    log,
    inspect,
):
    module.register(app)


def _version(requested: bool) -> None:
    if requested:
        typer.echo(f"latlas {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Options of latlas itself."""


# Its base class, ClickException, has no name in typer's own interface.
_UsageError: Any = typer.BadParameter.__mro__[2]


def main() -> None:
    """Runs the command line: exit code 0 good, 1 failed, 2 wrong usage or input, 130 interrupted."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    # The imports of a command make many objects and no garbage: to look for some takes .3 s of 2.5 s. After them, a
    # process that draws dozens of pictures holds them a while longer, 80 MB at most.
    gc.set_threshold(50_000)
    streams.prepare()
    stopping.interrupt_when_asked()
    sys.excepthook = _traced
    sys.exit(run([a for a in arguments if a != "--debug"], debug))


def _traced(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Prints where an error came from, which --debug asks for."""
    print(visible("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr)


def run(arguments: list[str], debug: bool = False) -> int:
    """Runs one command line in this process and gives its exit code; errors are one line on standard error."""
    command = typer.main.get_command(app)
    try:
        code = 0
        try:
            # command.main would swallow the message of Ctrl-C and treat a closed pipe as a failure.
            with (
                invoked_by(shlex.join(["latlas", *arguments])),
                worded(lambda text: _in_options(text, command, arguments)),
                command.make_context("latlas", arguments) as context,
            ):
                command.invoke(context)
        except typer.Exit as done:
            code = done.exit_code
        sys.stdout.flush()
        return code
    except _UsageError as error:
        if _said_by_another(error, arguments):
            return 2
        return _print_error(f"{error.format_message()} (latlas --help shows what there is)", 2)
    except KeyboardInterrupt as error:
        if debug:
            raise
        if _said_by_another(error, arguments):
            return 130
        return _print_error(str(error) or "interrupted", 130, "")
    except BrokenPipeError:
        return 0  # the reader of the output has closed the pipe, as `head` does; nothing is wrong
    except Exception as error:
        if debug:
            raise
        if _said_by_another(error, arguments):
            return 2 if isinstance(error, InputError) else 1
        if isinstance(error, InputError):
            return _print_error(_by_option(error, command, arguments), 2)
        if isinstance(error, LatlasError):
            return _print_error(str(error), 1)
        if isinstance(error, MemoryError | RuntimeError) and _is_shortage(error):
            return _print_error("memory ran out; free some, or take fewer items or a smaller model", 1)
        if isinstance(error, OSError):
            return _print_error(_by_system(error), 1)
        return _print_error(f"{type(error).__name__}: {error} (unexpected; --debug shows where)", 1)


def _is_shortage(error: BaseException) -> bool:
    from latlas.data.room import is_shortage

    return is_shortage(error)


def _by_system(error: OSError) -> str:
    """What the system says of a file or a folder, in a line."""
    reason = error.strerror or str(error) or type(error).__name__
    return reason if error.filename is None else f"{os.fsdecode(error.filename)}: {reason}"


def _said_by_another(error: BaseException, arguments: list[str]) -> bool:
    """Whether another of the processes that train together prints the error. An error from before they joined comes
    from the command line, which all have: the first one prints it.
    """
    follows = os.environ.get("WORLD_SIZE", "1") != "1" and os.environ.get("RANK", "0") != "0"
    return bool(getattr(error, "told", follows and arguments[:1] == ["train"]))


def _by_option(error: InputError, command: Any, arguments: list[str]) -> str:
    """The error's line, which names the command's options for a field and for the settings that mend it."""
    keys = _keys() if "." in error.field or error.remedy else {}
    options = _options(command, arguments)

    def flags(settings: Settings) -> str:
        if "settings" not in options:
            return in_words(settings)
        return " ".join(_flag(key, value, options.get(keys.get(key, key))) for key, value in settings.items())

    fields = [options.get(keys.get(field, field)) for field in error.field.split(", ")]
    if None not in fields:
        return error.about(", ".join(option.opts[0] for option in fields if option), " ", flags)
    return error.about(error.field, words=flags)


def _keys() -> dict[str, str]:
    """The options' names of the configuration's keys that have one."""
    from latlas.api.learning import SHORT

    return {key: name for name, key in SHORT.items()}


def _options(command: Any, arguments: list[str]) -> dict[str, Any]:
    """The options of the command that is called, by the names of their parameters."""
    for word in arguments:
        command = getattr(command, "commands", {}).get(word, command)
    return {p.name: p for p in command.params if p.param_type_name == "option"}


def _in_options(note: str, command: Any, arguments: list[str]) -> str:
    """A note in which a configuration's key, as data.drop, is the command's option for it, if there is one."""
    if not re.search(r"\w\.\w|split = ", note):
        return note
    options, keys = _options(command, arguments), _keys()

    def option(found: re.Match[str]) -> str:
        known = options.get(keys.get(found[1], found[1]))
        return found[0] if known is None else known.opts[0] + (" " if found[2] else "")

    names = "|".join(map(re.escape, (key for key in keys if "." in key)))
    return re.sub(rf"(?<![\w./-])({names}|split(?= = ))( = |(?![\w/]|\.\w))", option, note)


def _flag(key: str, value: Any, option: Any) -> str:
    """A setting as it is typed: --drop id --drop name, --columns a,b, --set data.decimal=,"""
    values = [str(v) for v in value] if isinstance(value, list | tuple) else [str(value)]
    if option is None:
        return f"--set {shlex.quote(f'{key}={value}')}"
    if option.multiple:
        return " ".join(f"{option.opts[0]} {shlex.quote(v)}" for v in values)
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(values)
    return f"{option.opts[0]} {shlex.quote(line.getvalue() if len(values) > 1 else values[0])}"


def _print_error(text: str, code: int, prefix: str = "error: ") -> int:
    text = re.sub(r"\d{120,}", lambda number: f"{number[0][:20]}… ({len(number[0]):,} digits)", text)
    if places.working_folder_is_gone():
        text += " (the folder that this command was started in is gone; change to another one)"
    print(prefix + printable(" ".join(text.split())), file=sys.stderr)
    return code
