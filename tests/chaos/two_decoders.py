"""The fast decoder against the reference decoder, on as many hostile records as there is time for.

    python -m tests.chaos.two_decoders --records 2000000 --seed 1

What the kernels take must be what the reference makes of it, bit for bit; what they leave must end as the reference
says; and whatever the bytes, the reference answers with a row or with a BadRecord. Records lie in whole Kafka batches,
so a scan that ran over the end of one would be seen in the next. Status 1 if they differ once; the seed does it again.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from zoneinfo import ZoneInfo

from schemas import decode as reference
from schemas.errors import BadRecord
from schemas.sources import Source
from streams.columns import NO_CODE
from streams.decode import Decoder
from streams.strings import StringTable
from tests.chaos.hostile import Fuzzer
from tests.support.fast_scan import scanned
from tests.support.kafka_bytes import raw_batch
from tests.support.rows import bits

ZONE: Final = ZoneInfo("Asia/Shanghai")
BATCH: Final = 400
TABLE_RECORDS: Final = 200_000
"""After so many records the string tables are new: hostile records fill them with names that none will send again."""
MOST_SHOWN: Final = 20

Value = bytes | None
Seen = tuple[Any, ...]


@dataclass
class Tally:
    """What came of the records."""

    records: int = 0
    fast: int = 0
    """Taken by the kernels alone."""
    refused: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


class TwoDecoders:
    """Both, and what they have made of all records so far."""

    def __init__(self) -> None:
        self.tally = Tally()
        self._new_tables()

    def compare(self, source: Source, values: Sequence[Value]) -> None:
        """Decode `values` as one batch in both ways; differences go to the tally."""
        tally = self.tally
        if tally.records // TABLE_RECORDS != (tally.records + len(values)) // TABLE_RECORDS:
            self._new_tables()
        tally.records += len(values)
        columns, found, *_ = self._decoder.decode(source, source.topic, 3, [raw_batch(values)])
        rows = dict(zip(columns.offset.tolist(), self._rows(columns), strict=True))
        letters = {letter.offset: letter for letter in found}
        payloads = [value for value in values if value is not None]
        taken = [row is not None for row in scanned(source, payloads)]
        tally.fast += sum(taken)
        if len(rows) + len(letters) != len(values) or rows.keys() & letters.keys():
            tally.problems.append(f"{len(values)} records became {len(rows)} rows and {len(letters)} letters")
        for offset, value in enumerate(values):
            try:
                said = bits(reference.decode(source, value, ZONE))
            except BadRecord as error:
                tally.refused[str(error.reason)] += 1
                letter = letters.get(offset)
                told = None if letter is None else (str(letter.reason), letter.path, letter.detail)
                if told != (str(error.reason), error.path, error.detail):
                    tally.problems.append(f"{source.topic}: reference refuses ({error}), decoder {told}: {value!r}")
                elif letter is not None and letter.payload != (value or b"")[: len(letter.payload)]:
                    tally.problems.append(f"{source.topic}: the letter of {value!r} holds {letter.payload!r}")
            except Exception as broken:
                tally.problems.append(f"{source.topic}: {type(broken).__name__}: {broken}: {value!r}")
            else:
                if rows.get(offset) != said:
                    tally.problems.append(
                        f"{source.topic}: {said} to the reference, else {rows.get(offset)}: {value!r}"
                    )
        del tally.problems[MOST_SHOWN:]

    def _new_tables(self) -> None:
        self._tables = StringTable(), StringTable(), StringTable()
        self._decoder = Decoder(*self._tables, dict.fromkeys(Source, ZONE))

    def _rows(self, columns: Any) -> Iterator[Seen]:
        kinds, units, types = (table.values for table in self._tables)
        names = ("event_at_ms", "kind", "unit", "device_type", "value", "confidence", "quality", "datum", "lon", "lat")
        lists = [getattr(columns, name).tolist() for name in names]
        for row, (at, kind, unit, made, value, confidence, quality, datum, lon, lat) in enumerate(
            zip(*lists, strict=True)
        ):
            yield bits(
                reference.Row(
                    at, columns.entity(row), kinds[kind], value, confidence, quality,
                    None if unit == NO_CODE else units[unit], None if made == NO_CODE else types[made],
                    datum, lon, lat, columns.extra.get(row),
                )
            )  # fmt: skip


def run(count: int, seed: int) -> Tally:
    """`count` records of this seed, batch by batch of one source each."""
    chance = random.Random(seed)
    fuzzer = Fuzzer(chance)
    both = TwoDecoders()
    while both.tally.records < count and len(both.tally.problems) < MOST_SHOWN:
        source = chance.choice(list(Source))
        both.compare(source, [fuzzer.record(source) for _ in range(BATCH)])
    return both.tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=2_000_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    began = time.monotonic()
    tally = run(given.records, given.seed)
    took = time.monotonic() - began
    print(
        f"{tally.records:,} records in {took:.0f} s: {tally.fast:,} taken by the kernels, "
        f"refused: {dict(tally.refused)}"
    )
    for problem in tally.problems:
        print(problem[:2_000])
    print("they agree" if not tally.problems else f"they DIFFER, seed {given.seed}")
    return 1 if tally.problems else 0


if __name__ == "__main__":
    sys.exit(main())
