"""Records that nobody should send: a structured fuzzer over what raw records are made of, and plain bytes.

A record starts out as a good one, a list of (key, JSON text) pairs, and is hurt one to four times, by what has broken
decoders before: wrong types, odd numbers, times of the year 1, keys twice (also spelled with escapes), surrogates,
invalid UTF-8, depth, length, byte order marks, other encodings, cuts, splices and single bytes. Many stay good: the
point is that two decoders agree, and that whatever is bad harms nobody. Everything is drawn from the Random given.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from schemas.sources import Source

T0: Final = 1_782_864_000_000
Pairs = list[tuple[str, str]]
"""Key without quotes, as it is spelled, and the JSON text of the value."""

TIMES: Final = (
    "0", "-1", "1", "-62135596800000", "253402300799999", "253402300800000", "946684799999", "946684800000",
    "4102444799999", "4102444800000", "1782864000", "1782864000000000", "9223372036854775807",
    "9223372036854775808", "-9223372036854775809", "18446744073709551616", "1782864000000.0", "1782864000000.5",
    "1.782864e12", "1e12", "true", '"1782864000000"', '"0001-01-01T00:00:00Z"', '"9999-12-31T23:59:59Z"',
    '"9999-12-31T23:59:59.999999999Z"', '"2026-07-01"', '"2026-07-01T08:00"', '"2026-07-01T24:00:00Z"',
    '"2026-02-30T08:00:00Z"', '"2026-07-01T08:00:60Z"', '"2026-07-01T08:00:61Z"', '"2026-07-01 08:00:00"',
    '"2026-07-01t08:00:00z"', '"2026-07-01T08:00:00+24:00"', '"2026-07-01T08:00:00-00:00"',
    '"2026-07-01T08:00:00.1234567890Z"', '"2026-07-01T08:00:00."', '"２０２６-07-01T08:00:00Z"',
    '"2026-07-01T08:00:00Z "', '"\\u0032026-07-01T08:00:00Z"', '"+2026-07-01T08:00:00Z"', '"-0001-01-01T00:00:00Z"',
    '"2026-07-01T08:00:00Z\\u0000"', '"0000-01-01T00:00:00Z"', '"2100-01-01T00:00:00Z"',
    '"1999-12-31T23:59:59.999Z"', '"2000-01-01T00:00:00+14:00"', '"2026-13-01T00:00:00Z"', '"1970-01-01T00:00:00Z"',
)  # fmt: skip
NUMBERS: Final = (
    "0", "-0", "-0.0", "0.0", "00", "01", "-01", "1.", ".5", "+1", "1e5", "1E+5", "1e-5", "1e", "1e+", "1e400",
    "-1e400", "1e308", "1.7976931348623157e308", "1.7976931348623159e308", "4.9e-324", "1e-400",
    "2.2250738585072014e-308", "NaN", "-NaN", "nan", "Infinity", "-Infinity", "inf", "0x10", "1_000", "1,5",
    "9007199254740993", "9223372036854775807", "9223372036854775808", "-9223372036854775808",
    "18446744073709551615", "18446744073709551616", "--1", "1-", "1.2.3", "0.1e1e1", "179.99999999999999999999",
    "180.00000000000001", "180.0000000000001", "-180", "90", "-90", "90.1", "-90.1", "0.1" + "0" * 400 + "1",
    "1" * 400, "1" * 5_000, "0." + "3" * 5_000, "1e" + "9" * 50, "-" + "9" * 25, "0e0", "0E999",
    "0.30000000000000004", "123456789012345678.9", "8.41e21", "9.5367431640625e-7", "5e-324",
)  # fmt: skip
EDGES: Final = (
    "-180", "180", "-180.0000001", "180.0000001", "-90", "90", "-90.0000001", "90.0000001", "0", "1", "-0.0000001",
    "1.0000001", "0.6", "9007199254740992", "-9007199254740993",
)  # fmt: skip
"""What lies on the limits of fields, or a little beyond."""
LONGEST: Final = tuple(
    f'"{letter * count}"' for letter, most in (("a", 256), ("é", 128), ("𝄞", 64)) for count in (most, most + 1)
)
"""Identifiers as long as they may be, and one character longer."""
STRINGS: Final = (
    '""', '" "', '"\\u0000"', '"\\ud800"', '"\\udc00"', '"\\ud83d\\ude00"', '"\\ude00\\ud83d"', '"\\uD83D\\u0041"',
    '"\\x41"', '"\\u12"', '"\\', '"\\"', '"\\\\"', '"a\\/b"', '"a\tb"', '"a\nb"', '"\\n\\t\\b\\f\\r"', '"积水"',
    '"\u202e\ufeff\u200b"', '"e\u0301"', '"' + "a" * 256 + '"', '"' + "a" * 257 + '"', '"' + "é" * 128 + '"',
    '"' + "é" * 129 + '"', '"' + "𝄞" * 64 + '"', '"' + "a" * 1_024 + '"', '"' + "a" * 1_025 + '"',
    '"' + "水" * 8_192 + '"', '"' + "水" * 8_193 + '"', '"a:b:c"', '"{\\"ts\\":1}"', "'a'", "a", '"a', 'a"',
    '"13800138000"', '"\x7f"', '"\\u007f"', '"\\u2028"', '"good"', '"GOOD"', '"g\\u006fod"', '"suspect"', '"bad"',
    '"urgent"', '"critical"', '"high"', '"WGS-84"', '"wgs84"', '"gcj-02"', '"GCJ02"', '"BD09"', '"CGCS2000"',
    '"EPSG:4326"', '"WGS\\u002d84"', '"ＷＧＳ84"', '"bd-09 "', '"ı"', '"ß"', '"\u212a"',
)  # fmt: skip
OTHERS: Final = (
    "null", "true", "false", "[]", "{}", "[1]", '{"a":1}', '[[],[[]]]', '{"ts":1}', '{"a":{"b":[{"c":null}]}}',
    "[1,]", '{"a":1,}', "[,]", "", " ", "nul", "True", "None", "undefined", "/* */1", "1//", '{"a" 1}', '{"a":}',
    "[1 2]", "[1,2,3,4]", "[0.5,0.5,9223372036854775808,1]", "[1,2,3]", '["1",2,3,4]', "[1e308,1,1,1]", '{"":""}',
    '{"a":1,"a":2}',
)  # fmt: skip
KEYS: Final = (
    "device_id", "metric", "value", "ts", "unit", "quality", "device_type", "camera_id", "event", "confidence",
    "count", "track_id", "snapshot_url", "plate_hash", "bbox", "ticket_id", "category", "text", "urgency",
    "address", "caller_name", "caller_phone", "channel", "parent_ticket_id", "due_ts", "due_ms", "sent_due_ms",
    "place_confidence", "sent_place_confidence", "lon", "lat", "datum", "extra", "", " ", "TS", "t\\u0073",
    "\\u0074s", "ts\\u0000", "ts ", "值", "a" * 300, "k:v", "\\ud800", "l\\u006fn", "__proto__", "offset",
    "\\\"ts\\\"", "valu", "values", "n",
)  # fmt: skip
SPACES: Final = (
    "", " ", "\n", "\t", "\r\n", "  \t ", "\x0b", "\x0c", "\xa0", "\u3000", "\x00", "\ufeff",
    "/**/",
)  # fmt: skip
GARBAGE: Final = (
    b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xc0\x80", b"\xc0\xaf", b"\xed\xa0\x80", b"\xed\xb0\x80",
    b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\x80", b"\xe6\xb0", b"\x00", b"\x00\x00\x00\x00", b'"', b"\\", b",",
    b":", b"}", b"{", b"[", b"]", b'"ts":1,', b',"ts":1', b"}{", b"\x1f\x8b\x08", b"\n", b"\x7f", b"//", b"NaN", b"-",
    b".", b"e5", b"0", b"\\u", b"\\ud800", b"\xe2\x80\xa8", b"\x1b[2J", b"%s%n", b"';--",
)  # fmt: skip
ENCODINGS: Final = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "gb18030", "utf-7")


class Fuzzer:
    """Makes records of a source around a moment and a place, from good to hopeless."""

    def __init__(
        self, chance: random.Random, *, at_ms: int = T0, place: tuple[float, float] = (121.4605, 31.2105)
    ) -> None:
        self.at_ms = at_ms
        self._chance = chance
        self._place = place
        self._hurts: tuple[Callable[[Pairs], Pairs], ...] = (
            self._replace, self._replace, self._replace, self._drop, self._again, self._add, self._rename, self._swap,
        )  # fmt: skip

    def record(self, source: Source) -> bytes | None:
        """One record: mostly a hurt one, now and then plain bytes or nothing at all."""
        draw = self._chance.random()
        if draw < 0.08:
            return self.plain_bytes()
        if draw < 0.09:
            return None
        return self.odd(source) if draw < 0.55 else self.hurt(source)

    def odd(self, source: Source) -> bytes:
        """A record that breaks no rule, or just about: any number, word or time that its fields may hold."""
        chance = self._chance
        pairs = [(key, self._likely(key, text) if chance.random() < 0.25 else text) for key, text in self.good(source)]
        if chance.random() < 0.3:
            chance.shuffle(pairs)
        return self._written(pairs)

    def hurt(self, source: Source) -> bytes:
        """A good record, hurt one to four times in its fields, its spelling or its bytes."""
        chance = self._chance
        pairs = self.good(source)
        in_bytes = 0
        for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 4))):
            if chance.random() < 0.7:
                pairs = chance.choice(self._hurts)(pairs)
            else:
                in_bytes += 1
        if chance.random() < 0.3:
            chance.shuffle(pairs)
        data = self._written(pairs)
        for _ in range(in_bytes):
            data = self._hurt_bytes(data)
        return data

    def plain_bytes(self) -> bytes:
        """Bytes without any plan, some of them of the letters that JSON is made of."""
        chance = self._chance
        size = chance.choice((0, 1, 2, 3, 8, 60, 200, 1_000))
        if chance.random() < 0.5:
            return chance.randbytes(size)
        return bytes(chance.choices(b'{}[]":,\\ \n\t0123456789.eE+-truefalsn\x00\xff"ts', k=size))

    def good(self, source: Source) -> Pairs:
        """The pairs of a good record, with some of the optional fields."""
        chance = self._chance
        number = chance.randrange(1_000)
        if source is Source.READINGS:
            pairs = [
                ("device_id", f'"d{number}"'), ("metric", '"water_level_mm"'),
                ("value", str(chance.randrange(2_400) / 10)), ("ts", str(self.at_ms)),
                ("unit", '"mm"'), ("quality", '"good"'), ("device_type", '"雷达"'),
            ]  # fmt: skip
        elif source is Source.CAMERA_EVENTS:
            pairs = [
                ("camera_id", f'"c{number}"'), ("event", '"waterlogging"'), ("confidence", "0.87"),
                ("ts", str(self.at_ms)), ("count", "2"), ("track_id", str(number)),
                ("snapshot_url", '"s3://a/b.jpg"'), ("plate_hash", '"ab12"'),
                ("bbox", "[1,2,3.5,4]"),
            ]  # fmt: skip
        else:
            pairs = [
                ("ticket_id", f'"t{number}"'), ("category", '"flood"'), ("text", '"路面积水，请尽快处理"'),
                ("ts", f'"{_iso(self.at_ms)}"'), ("urgency", '"urgent"'), ("channel", '"12345"'),
                ("due_ts", str(self.at_ms)), ("caller_phone", '"13800138000"'),
                ("address", '"人民路 1 号"'), ("parent_ticket_id", '"t1"'),
            ]  # fmt: skip
        required = 3 if source is Source.TICKETS else 4
        kept = [pair for at, pair in enumerate(pairs) if at <= required - 1 or pair[0] == "ts" or chance.random() < 0.3]
        lon, lat = self._place
        kept += [("lon", f"{lon:.6f}"), ("lat", f"{lat:.6f}")]
        if chance.random() < 0.2:
            kept.append(("datum", '"WGS-84"'))
        return kept

    def _likely(self, key: str, text: str) -> str:
        chance = self._chance
        if key in ("ts", "due_ts"):
            at_ms = self.at_ms + chance.choice((-1, -1, 1)) * chance.randrange(10 ** chance.randrange(13))
            return chance.choice(
                (str(at_ms), f'"{_iso(at_ms)}"', f'"{_iso(at_ms)[:-5]}+08:00"', f'"{_iso(at_ms)[:19]}"')
            )
        if key in ("lon", "lat", "value", "confidence"):
            if chance.random() < 0.3:
                return chance.choice(EDGES)
            ways = (chance.random(), chance.uniform(-90, 90), chance.gauss(0, 10 ** chance.randrange(20)))
            number = chance.choice(ways)
            exact = f"{number:.{chance.randrange(25)}f}"
            return chance.choice((repr(number), exact, exact, exact[:8], f"{number:.{chance.randrange(20)}e}"))
        if key == "count":
            return str(chance.randrange(10 ** chance.randrange(1, 25)))
        if key in ("quality", "urgency", "datum"):
            return chance.choice(STRINGS[-21:])
        if chance.random() < 0.15:
            return chance.choice(LONGEST)
        if key == "bbox":
            return f"[{','.join(repr(chance.uniform(-1e4, 1e4)) for _ in range(4))}]"
        return json.dumps(self._text().encode("utf-8", "ignore").decode(), ensure_ascii=chance.random() < 0.2)

    # --- in the fields -----------------------------------------------------------------------------------------------

    def _value(self) -> str:
        """Some JSON text, or what looks like it, for anywhere."""
        chance = self._chance
        draw = chance.random()
        if draw < 0.25:
            return chance.choice(NUMBERS)
        if draw < 0.4:
            return chance.choice(TIMES)
        if draw < 0.65:
            return chance.choice(STRINGS)
        if draw < 0.8:
            return chance.choice(OTHERS)
        if draw < 0.84:
            return self._deep()
        if draw < 0.86:
            return json.dumps("x" * chance.choice((60_000, 65_000, 66_000)))
        if draw < 0.93:
            return repr(chance.uniform(-1e3, 1e3)) if chance.random() < 0.5 else str(chance.randrange(-(2**65), 2**65))
        return json.dumps(self._text(), ensure_ascii=chance.random() < 0.5)

    def _text(self) -> str:
        chance = self._chance
        pool = 'abc "\\/\b\f\n\r\t\x00\x1f\x7fé水𝄞\u2028\ud800\udc00:,{}[]0'
        return "".join(chance.choices(pool, k=chance.randrange(20)))

    def _deep(self) -> str:
        chance = self._chance
        depth = chance.choice((10, 62, 63, 64, 65, 200, 1_100, 5_000))
        opened, closed = chance.choice((("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")))
        return opened * depth + "1" + closed * (depth - chance.choice((0, 0, 0, 1)))

    def _replace(self, pairs: Pairs) -> Pairs:
        chance = self._chance
        if not pairs:
            return pairs
        at = chance.randrange(len(pairs))
        key = pairs[at][0]
        draw = chance.random()
        if draw < 0.4:
            text = self._value()
        elif key in ("ts", "due_ts"):
            text = chance.choice(TIMES)
        elif key in ("value", "confidence", "count", "lon", "lat", "track_id"):
            text = chance.choice(NUMBERS)
        else:
            text = chance.choice(STRINGS)
        return [*pairs[:at], (key, text), *pairs[at + 1 :]]

    def _drop(self, pairs: Pairs) -> Pairs:
        at = self._chance.randrange(len(pairs) + 1)
        return pairs[:at] + pairs[at + 1 :]

    def _again(self, pairs: Pairs) -> Pairs:
        """A key that is there already: with the same value, another one, or spelled with an escape."""
        chance = self._chance
        if not pairs:
            return pairs
        key, text = chance.choice(pairs)
        if chance.random() < 0.4 and key:
            at = chance.randrange(len(key))
            if key[at] != "\\" and "\\" not in key:
                key = f"{key[:at]}\\u{ord(key[at]):04x}{key[at + 1 :]}" if ord(key[at]) < 65_536 else key
        if chance.random() < 0.5:
            text = self._value()
        pairs = list(pairs)
        pairs.insert(chance.randrange(len(pairs) + 1), (key, text))
        return pairs

    def _add(self, pairs: Pairs) -> Pairs:
        chance = self._chance
        pairs = list(pairs)
        for _ in range(chance.choice((1, 1, 2, 40))):
            pairs.insert(chance.randrange(len(pairs) + 1), (chance.choice(KEYS), self._value()))
        return pairs

    def _rename(self, pairs: Pairs) -> Pairs:
        chance = self._chance
        if not pairs:
            return pairs
        at = chance.randrange(len(pairs))
        return [*pairs[:at], (chance.choice(KEYS), pairs[at][1]), *pairs[at + 1 :]]

    def _swap(self, pairs: Pairs) -> Pairs:
        """The values of two fields, such as longitude and latitude, for each other."""
        if len(pairs) < 2:
            return pairs
        one, other = self._chance.sample(range(len(pairs)), 2)
        pairs = list(pairs)
        pairs[one], pairs[other] = (pairs[one][0], pairs[other][1]), (pairs[other][0], pairs[one][1])
        return pairs

    # --- in the bytes ------------------------------------------------------------------------------------------------

    def _written(self, pairs: Pairs) -> bytes:
        chance = self._chance
        if chance.random() < 0.15:  # blanks, also such as JSON does not know, around anything

            def space() -> str:
                return chance.choice(SPACES) if chance.random() < 0.2 else ""
        else:

            def space() -> str:
                return ""

        fields = (f'{space()}"{key}"{space()}:{space()}{text}{space()}' for key, text in pairs)
        text = f"{space()}{{{','.join(fields)}}}{space()}"
        if chance.random() < 0.02:
            return text.encode(chance.choice(ENCODINGS), "replace")
        return text.encode("utf-8", "surrogatepass")

    def _hurt_bytes(self, data: bytes) -> bytes:
        chance = self._chance
        size = len(data)
        at = chance.randrange(size + 1)
        way = chance.randrange(8)
        if way == 0:  # cut
            return data[:at]
        if way == 1:  # a hole
            return data[:at] + data[at + chance.choice((1, 1, 2, 8)) :]
        if way == 2 and size:  # one bit
            at = min(at, size - 1)
            return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
        if way == 3:  # a copy of a part somewhere else
            end = min(size, at + chance.randrange(1, 40))
            to = chance.randrange(size + 1)
            return data[:to] + data[at:end] + data[to:]
        if way == 4:  # twice, or behind something
            return chance.choice(
                (data + data, b"\xef\xbb\xbf" + data, data + b"\x00", b"[" + data + b"]", data + b"\n" + data)
            )
        if way == 5:
            return data[:at] + chance.randbytes(chance.choice((1, 1, 2, 4))) + data[at + 1 :]
        return data[:at] + chance.choice(GARBAGE) + data[at + chance.choice((0, 0, 1)) :]


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
