"""What every command shares: output, exit codes, and errors told as one sentence instead of a traceback."""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback
from enum import IntEnum
from typing import Any, Final

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from schemas.errors import BrokerError, SettingsError, StoreUnavailable, TongguanError, WorkerStuck


class ExitCode(IntEnum):
    """The command's exit codes; `tongguan --help` documents them."""

    OK = 0
    PROBLEMS = 1
    """It ran and found something wrong: drift, a refused query, a failed check."""
    USAGE = 2
    """The command line or the configuration is wrong; nothing was done."""
    AWAY = 3
    """Kafka, ClickHouse or another dependency cannot be reached."""
    STUCK = 75
    """A consumer of the worker stood still: start it again (sysexits' EX_TEMPFAIL)."""
    INTERNAL = 70
    """A mistake in Tongguan itself (sysexits' EX_SOFTWARE)."""


CHATTY: Final = ("aiokafka", "clickhouse_connect", "kafka", "urllib3")
"""Libraries that log each of their own retries; the commands tell the outcome once, in words of their own."""

out: Final = Console(highlight=False, soft_wrap=True, markup=False)
err: Final = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)

# C0 and C1 controls, and the marks that turn the reading direction around
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def safe(text: str) -> str:
    """The text with control characters written out: a record must not be able to drive the reader's terminal."""
    return _UNSAFE.sub(lambda match: f"\\x{ord(match[0]):02x}" if ord(match[0]) < 256 else repr(match[0])[1:-1], text)


def say(text: str, *, style: str = "") -> None:
    """One line for the user on standard error, so that standard output holds only results."""
    err.print(Text(text, style=style))


class UsageProblem(TongguanError):
    """The command line asks for something that does not exist; the message says what there is."""


def exit_code_of(error: TongguanError) -> ExitCode:
    """Which exit code an error of the project ends the command with."""
    from streams.metrics import PortTaken

    match error:
        case SettingsError() | UsageProblem() | PortTaken():
            return ExitCode.USAGE
        case BrokerError() | StoreUnavailable():
            return ExitCode.AWAY
        case WorkerStuck():
            return ExitCode.STUCK
        case _:
            return ExitCode.PROBLEMS


def report(error: TongguanError) -> ExitCode:
    """Tell the user about an error; returns the exit code for it."""
    if isinstance(error, SettingsError) and len(error.problems) != 1:
        say(f"error: {len(error.problems)} problems 个问题", style="bold red")
        for problem in error.problems:
            say(f"  - {safe(problem)}")
    else:
        say("error: " + "\n".join(safe(line) for line in str(error).splitlines()), style="red")
    return exit_code_of(error)


class TongguanGroup(TyperGroup):
    """The outermost command: the one place where an error becomes a message and an exit code."""

    def invoke(self, ctx: Any) -> Any:  # typer's own context type is private
        for chatty in CHATTY:
            logging.getLogger(chatty).setLevel(logging.CRITICAL)
        try:
            return super().invoke(ctx)
        except TongguanError as error:
            raise typer.Exit(report(error)) from error
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except BrokenPipeError:
            # the reader (`| head`) has gone: no error, and nothing more to flush at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(ExitCode.OK) from None
        except (typer.Exit, typer.Abort, typer.TyperException):
            raise
        except Exception as error:  # the last boundary: whatever it is, the user gets a sentence, not a traceback
            if os.environ.get("TONGGUAN_DEBUG"):
                traceback.print_exc()
            say(
                f"error: internal: {type(error).__name__}: {safe(str(error))}; this is a mistake in Tongguan, "
                "not yours. TONGGUAN_DEBUG=1 shows where it happened",
                style="red",
            )
            raise typer.Exit(ExitCode.INTERNAL) from error
