"""The project's exceptions: one small tree.

    TongguanError
    ├── SettingsError       a configuration or a user's file is wrong; holds every problem found, not the first
    ├── BadRecord           one raw record cannot become an observation; holds reason, $.path and detail
    ├── MessageError        bytes that should be one of our own JSON messages (alert, dead letter) are not
    ├── FrameError          bytes that should be an observation frame are not
    ├── BrokerError         Kafka did not do what was asked
    ├── WorkerStuck         a consumer of this process stands still; a new process may go on
    └── StoreError          ClickHouse did not do what was asked
        ├── StoreUnavailable    it cannot be reached or is busy: the same request may succeed later
        └── StoreRefused        it understood and said no: repeating the same request is useless

Messages are lower case, name the value and the place, then give a hint; they blame nobody.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schemas.dead_letter import Reason


class TongguanError(Exception):
    """Base of every error that the project raises on purpose."""


class SettingsError(TongguanError):
    """Settings that cannot be used. `problems` has one line for each thing to put right."""

    def __init__(self, problems: Iterable[str] | str) -> None:
        self.problems: list[str] = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type[SettingsError], tuple[list[str]]]:
        return type(self), (self.problems,)


class BadRecord(TongguanError):
    """A raw record that cannot become an observation.

    `path` says where in the record ("$.value"; "$" when it is the record as a whole), `detail` says what was
    expected and what was found. The detail never shows the value of a personal field.
    """

    def __init__(self, reason: Reason, path: str, detail: str) -> None:
        self.reason = reason
        self.path = path
        self.detail = detail
        super().__init__(f"{reason}: {detail} - at {path}")

    def __reduce__(self) -> tuple[type[BadRecord], tuple[Reason, str, str]]:
        return type(self), (self.reason, self.path, self.detail)


class MessageError(TongguanError):
    """Bytes that are not the JSON message (alert, dead letter) they should be."""


class FrameError(TongguanError):
    """Bytes that are not an observation frame, or a batch that cannot be put into one."""


class BrokerError(TongguanError):
    """Kafka did not do what was asked."""


class BrokerRefused(BrokerError):
    """Kafka refuses it for good: waiting and trying again with the same client cannot help."""


class WorkerStuck(TongguanError):
    """A consumer of this process stands still although there is something to consume; a new process may go on."""


class StoreError(TongguanError):
    """ClickHouse did not do what was asked."""


class StoreUnavailable(StoreError):
    """The store cannot be reached, is too busy or timed out: try again later."""


class StoreRefused(StoreError):
    """The store understood the request and refused it: trying again unchanged is useless."""
