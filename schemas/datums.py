"""The geodetic datums a record may name, and their codes.

Only names and numbers: the conversions are in topology.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Datum(IntEnum):
    """Code of a datum in decoded rows. NOT_GIVEN means: the source's declared datum applies."""

    NOT_GIVEN = 0
    WGS84 = 1
    CGCS2000 = 2
    GCJ02 = 3
    BD09 = 4


# Spellings accepted in a record's `datum` field, compared in upper case.
DATUM_NAMES: Final[dict[str, Datum]] = {
    "WGS-84": Datum.WGS84,
    "WGS84": Datum.WGS84,
    "CGCS2000": Datum.CGCS2000,
    "GCJ-02": Datum.GCJ02,
    "GCJ02": Datum.GCJ02,
    "BD-09": Datum.BD09,
    "BD09": Datum.BD09,
}

# The same as a regular expression without flags, for JSON Schema.
DATUM_PATTERN: Final = "^([Ww][Gg][Ss]-?84|[Cc][Gg][Cc][Ss]2000|[Gg][Cc][Jj]-?02|[Bb][Dd]-?09)$"
