"""Where a ticket without coordinates is, by its words: a point or a code of the address library, or nothing.

A ticket's `address` is asked first. Its `text` may only add to that: it stands in for an address that is missing or
says nothing, and refines one that names no more than a district. Pure: the same ticket and library, the same place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from topology.addresses import Resolved
from topology.grid import NO_CELL, Grid

_SAYS_NOTHING: Final = ("empty", "unknown")


class Addresses(Protocol):
    """The part of an AddressLibrary that is used here."""

    def resolve(self, text: str) -> Resolved:
        """What an address text says; pure, and never raises."""
        ...


@dataclass(frozen=True, slots=True)
class TicketPlace:
    """What a ticket's words say. At least one of `code` and the point (WGS-84, inside the grid) is given."""

    code: str | None
    point: tuple[float, float] | None
    confidence: float  # 0 to 1, that these are right


class TicketPlaces:
    """Asks the city's address library. May run in any thread."""

    def __init__(self, library: Addresses, grid: Grid) -> None:
        self._library = library
        self._grid = grid

    def find(self, extra: bytes | None) -> TicketPlace | None:
        """The place that a ticket's extra fields tell, None when they tell none."""
        if extra is None:
            return None
        words = _words.decode(extra)
        found = self._library.resolve(words.address)
        if found.lon is None:
            found = _refined(found, self._library.resolve(words.text))
        point = None
        if found.lon is not None and found.lat is not None and self._grid.cell(found.lon, found.lat) != NO_CELL:
            point = (found.lon, found.lat)
        if found.code is None and point is None:
            return None
        return TicketPlace(found.code, point, round(found.confidence, 4))


def with_confidence(extra: bytes, confidence: float) -> bytes:
    """A ticket's extra fields and `place_confidence`, which no decoded ticket has yet (`schemas.decode` sees to it)."""
    return b'%b,"place_confidence":%b}' % (extra[:-1], msgspec.json.encode(confidence))


def lies_in(code: str, above: str) -> bool:
    """Whether a division is, or lies in, the one `above`, by their official codes: 310104003 in 310104 in 310000."""
    while len(above) <= 6 and above.endswith("00"):
        above = above[:-2]
    return code.startswith(above)


class _Words(msgspec.Struct):
    address: str = ""
    text: str = ""


_words = msgspec.json.Decoder(_Words)


def _refined(by_address: Resolved, by_text: Resolved) -> Resolved:
    """The text's answer when it lies within the address's, else the address's."""
    if by_address.code is None:
        return by_text if by_address.reason in _SAYS_NOTHING else by_address
    if by_text.code is None:
        return by_address
    return by_text if lies_in(by_text.code, by_address.code) else by_address
