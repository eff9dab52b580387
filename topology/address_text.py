"""Reading Chinese address text: which divisions it names, then the roads and numbers in what is left.

    浦东新区中国上海上海浦东新区三林路三林路200号(三林镇附近)
    \\______/    \\____________/ \\____________/ \\________/
     mention        mention      road, number      note

Names of divisions are looked for as chains that go down (上海 > 徐汇 > 天平路街道), because single words deceive: many
roads of Shanghai are called after other cities (北京东路, 四川北路). An abbreviation counts only where an address can
begin and when it is not the beginning of another name; a full name (with 市, 区, 街道 ...) counts everywhere.

Work is bounded: a text is cut at `MAX_CHARS`, each place of it is looked at once, every pattern has bounded repeats.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Final

from topology.divisions import (
    DISTRICT_DIGITS,
    STREET_DIGITS,
    Form,
    Name,
    Names,
    area_names,
    common_prefix,
    communities_of,
    is_zone,
    streets_called,
    streets_of,
)

MAX_CHARS: Final = 300
"""The longest address of the sample has 180 characters. What comes after in a longer text is not looked at."""
MAX_ALIKE: Final = 10
"""A subdistrict's name alone tells its district unless more share it. Of 116 texts of the sample that name such a one
78 % meant the district that has it in the table; of 98 with 6 to 10 alike 96 %, of 1,413 with fewer 98.6 %."""
ANYWHERE: Final = 1000
CUT: Final = "|"
"""Stands where a mention was taken out: a name never goes across it."""

_NOT_ADDRESS: Final = re.compile(r"[^\w()\[\]【】,;、。/:#~+.&\-—|]+")
_MAY_BEGIN_AFTER: Final = frozenset(",;、。/:|是在于住址到至国")
_BETWEEN: Final = frozenset(",-/.、—:")
_ENDS_OF_FULL_NAMES: Final = frozenset("省市区县盟旗州道镇乡会")
# What makes a name out of an abbreviation: 上海路, 北京东路, 普陀山, 静安寺, 广州大厦, 浦东大道, 四川北路.
_GOES_ON: Final = re.compile(
    r"[东西南北中新老大内外前后上下支一二三四五六七八九十\d]{0,3}(?:路|街|大道|道|公路|弄|巷|胡同|高架|高速|铁路|环线|里弄)"
    r"|[江河湖桥站寺庙门港浜塘泾苑园城楼厦馆店院校山岛湾里村坊居府台滩庙街乡镇]|大[学厦桥酒饭楼剧]|花[园苑]|公[寓园馆]|小[区学]"
    r"|中[学心]|新[村城苑]|广场|宾馆|酒店|饭店|银行|医院|学[校院]|商[厦场城会]|人家|出口|工业|经济|开发|高新|技术|保税|科技|发展|集团|公司|名[苑都邸]|豪"
)
_FULL_GOES_ON: Final = re.compile(r"[东西南北中]{0,1}(?:路|街(?!道)|弄)")
_GENERIC: Final = re.compile(
    r"(?:经济|技术|高新|新技术|产业|工业|农业|旅游|度假|综合|科技|生态|风景|名胜|国家|现代)*"
    r"(?:开发区|园区|新区|管理区|度假区|示范区|名胜区)"
)
"""Subdistricts that are called so: every city has several that the table does not list."""
_NO_ROADS: Final = frozenset(
    {
        "道路",
        "马路",
        "公路",
        "铁路",
        "线路",
        "环路",
        "大道",
        "大街",
        "街道",
        "通道",
        "隧道",
        "轨道",
        "管道",
        "河道",
        "渠道",
    }
    | {
        "街巷",
        "里弄",
        "小路",
        "小道",
        "小巷",
        "步行街",
        "人行道",
        "车道",
        "机动车道",
        "非机动车道",
        "车行道",
        "下水道",
        "支弄",
    }
)
_HAN: Final = "\u3400-\u9fff"
_ROAD: Final = re.compile(rf"[{_HAN}]{{1,12}}?(?:大道|大街|公路|路|街(?!道)|(?<!街)道|巷|弄|胡同)")
_NUMBER: Final = re.compile(
    r"(?:[东西南北中]段)?第?([甲乙丙丁])?(?:(\d{1,5})([A-Za-z]?)|([一二三四五六七八九十百千零〇两]{1,7})(?=[弄号巷]))"
    r"(?:[-~之、/]\d{1,5}(?=[号弄巷]))?(弄|号|巷|院)?"
)
_NOT_A_HOUSE: Final = re.compile(r"楼|栋|幢|座|室|层|单元|路|线|米|公里|组|队")
_IN_HOUSE: Final = frozenset("楼线")  # 12号楼 is a building, 2号线 an underground line
_INSIDE: Final = re.compile(r"(?:[弄巷])?(\d{1,5})号(?!楼|院|线)")
_RING: Final = re.compile(
    r"(?:城区|全区|市区|(?:[内中外一二三四五六]环)(?:以?内|以?外|之间|[到至]?[内中外一二三四五六]环(?:之间|以?内|以?外)?)?)"
)
_JOINING: Final = "近与和及至到靠临跨交"
_NEAR: Final = re.compile(r"附近|旁边|对面|斜对|隔壁|周边|[东西南北]侧|旁$|近$")
_DIGITS: Final = {char: value for value, char in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
_TENS: Final = {"十": 10, "百": 100, "千": 1000}


Chain = tuple[tuple[str, Form, str], ...]
"""Code, form and word of each name; the codes grow longer."""


@dataclass(frozen=True, slots=True)
class Mention:
    """A chain of division names in the text. `code` is the deepest division that it names, "" when names contradict."""

    code: str
    form: Form  # of its last name
    start: int
    end: int
    whole: bool  # some name of it is full, not abbreviated
    placed: bool  # it begins with a province or city
    alike: int = 0
    """Without a district in the chain: how many subdistricts of the country are called so (`ANYWHERE`: a village)."""

    @property
    def is_weak(self) -> bool:
        """Whether it may well be another place of that name, so that what else the text names counts more."""
        return self.alike > MAX_ALIKE or is_zone(self.code)


@dataclass(frozen=True, slots=True)
class Number:
    """A house number: 1265弄18号 is main 1265, unit 弄, inside 18; 甲1号 has mark 甲, 848-37 has no unit."""

    main: int
    unit: str = ""
    mark: str = ""
    inside: int | None = None

    def __str__(self) -> str:
        return f"{self.mark}{self.main}{self.unit}"


@dataclass(frozen=True, slots=True)
class Road:
    """A road as it is written, and the number on it when there is one."""

    name: str
    number: Number | None
    start: int
    end: int
    note: bool  # it stands in brackets or before "附近": beside the address, not the address


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read. `rest` is as long as `text`; mentions in it are `CUT`s."""

    text: str
    mentions: tuple[Mention, ...]
    rest: str


def clean(text: str) -> str:
    """Full-width to half-width, no blanks, no control characters, no emoji; at most `MAX_CHARS` characters."""
    text = text.strip()[: 2 * MAX_CHARS]
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return _NOT_ADDRESS.sub("", text)[:MAX_CHARS]


class DivisionReader:
    """Finds the divisions that a text names, as people in one city (`home`, the prefix of its codes) mean them.

    An empty `home` reads for the whole country, without subdistricts.
    """

    def __init__(self, home: str) -> None:
        self.home = home
        self._names = _names_for(home)
        lengths: dict[str, set[int]] = {}
        for name in self._names:
            lengths.setdefault(name[:2], set()).add(len(name))
        self._lengths = {head: tuple(sorted(found, reverse=True)) for head, found in lengths.items()}

    def read(self, text: str) -> Reading:
        """`text` must be clean."""
        mentions: list[Mention] = []
        pieces: list[str] = []
        at = kept = 0
        last = len(text) - 1
        lengths = self._lengths
        while at < last:
            if text[at : at + 2] in lengths:
                mention = self._mention(text, at, mentions[-1] if mentions else None)
                if mention is not None:
                    mentions.append(mention)
                    pieces += (text[kept:at], CUT * (mention.end - at))
                    at = kept = mention.end
                    continue
            at += 1
        pieces.append(text[kept:])
        return Reading(text, tuple(mentions), "".join(pieces))

    def is_home(self, code: str) -> bool:
        """Whether the division is the city, in it, or around it (its province)."""
        return code.startswith(self.home) or self.home.startswith(code)

    def _mention(self, text: str, start: int, before: Mention | None) -> Mention | None:
        end, chain = self._chain(text, start, "")
        if not chain:
            return None
        first, last = chain[0], chain[-1]
        whole = any(_is_whole(form, word) for _, form, word in chain)
        code = last[0]
        if not code:
            return None
        after_mention = before is not None and before.end == start
        leads = start == 0 or text[start - 1] in _MAY_BEGIN_AFTER
        if after_mention and before is not None:
            leads = before.code.startswith(code) or code.startswith(before.code)
        if not leads:
            if not whole:
                return None
            if len(chain) == 1 and (len(first[2]) == 2 or (len(code) == DISTRICT_DIGITS and not self.is_home(code))):
                return None  # 新城区, 和平区: there is one in the middle of many names
        elif len(chain) == 1 and not whole and not self.is_home(code) and len(code) >= DISTRICT_DIGITS:
            return None  # 新民, 和平, 东风: counties too, but mostly not meant
        placed = len(first[0]) < DISTRICT_DIGITS
        return Mention(code, last[1], start, end, whole, placed, 0 if len(code) <= DISTRICT_DIGITS else _alike(chain))

    def _chain(self, text: str, start: int, above: str) -> tuple[int, Chain]:
        """(end, names as (code, form, word)) of the chain that covers most, each name a part of the one before.

        Every name is longer in code than the one before, so no chain has more than five and the search is bounded.
        """
        best: tuple[int, Chain] = (start, ())
        if above and start < len(text) and text[start] in _BETWEEN:
            end, chain = self._chain(text, start + 1, above)
            return (end, chain) if chain and chain[0][1] is Form.FULL else best
        for length in self._lengths.get(text[start : start + 2], ()):
            word = text[start : start + length]
            readings = self._names.get(word)
            if readings is None or len(word) < length:  # at the end of the text a slice is a shorter name
                continue
            alone: list[Name] = []
            for reading in readings:
                if not reading.code.startswith(above) or len(reading.code) <= len(above):
                    continue
                end, below = self._chain(text, start + length, reading.code)
                if not below:
                    alone.append(reading)
                elif end > best[0]:
                    best = (end, ((reading.code, reading.form, word), *below))
            if alone and start + length > best[0] and not _is_part_of_a_name(text, start + length, word):
                best = (start + length, ((self._meant(alone), alone[0].form, word),))
        return best

    def _meant(self, readings: list[Name]) -> str:
        """The division meant by a name that several have: the one at home; else what contains all of them."""
        at_home = [one.code for one in readings if one.code.startswith(self.home)]
        if at_home:
            best = min(one.form for one in readings if one.code.startswith(self.home))
            return common_prefix({one.code for one in readings if one.code in at_home and one.form is best})
        best = min(one.form for one in readings)
        outer = [one.code for one in readings if one.form is best]
        shortest = min(outer, key=len)
        # 吉林 is a province and a city in it: the larger one is all that is sure
        return shortest if len(shortest) <= 4 else common_prefix(set(outer))


def roads_of(reading: Reading) -> list[Road]:
    """The roads outside of the division names, in order. Numbers are read where they follow directly."""
    rest = reading.rest
    roads: list[Road] = []
    depth_at = _depths(rest) if "(" in rest else None
    at = 0
    while (found := _ROAD.search(rest, at)) is not None:
        start, end = found.span()
        ring = _RING.match(rest, start)
        while ring is not None and ring.end() < end - 1:
            start = ring.end()
            ring = _RING.match(rest, start)
        follows = bool(roads) and roads[-1].end == start and roads[-1].number is None
        if follows and rest[start] in _JOINING and end - start > 2:
            start += 1
        number, after = _number(rest, end)
        if rest[start:end] in _NO_ROADS:
            at = end
            continue
        note = (depth_at is not None and depth_at[start] > 0) or _NEAR.match(rest, after) is not None
        roads.append(Road(rest[start:end], number, start, after, note))
        at = after
    return roads


def is_beside(reading: Reading, mention: Mention) -> bool:
    """Whether a division is named only to say what is near: "(三林镇附近)", "三林镇附近"; never the first words."""
    if mention.start == 0:
        return False
    rest = reading.rest
    opened = rest.rfind("(", 0, mention.start)
    if opened > rest.rfind(")", 0, mention.start):
        closed = rest.find(")", mention.end)
        return _NEAR.search(rest[mention.end : closed if closed >= 0 else len(rest)]) is not None
    return _NEAR.match(rest, mention.end) is not None


def numeral(text: str) -> int | None:
    """一百二十三 -> 123, 二〇八 -> 208; None for what is no number below ten thousand."""
    if not any(char in _TENS for char in text):
        value = 0
        for char in text:
            value = value * 10 + _DIGITS[char]
        return value if value < 10_000 else None
    total = digit = 0
    for char in text:
        if char in _TENS:
            total += max(digit, 1) * _TENS[char]
            digit = 0
        else:
            digit = _DIGITS[char]
    return total + digit if total + digit < 10_000 else None


def _number(text: str, at: int) -> tuple[Number | None, int]:
    found = _NUMBER.match(text, at)
    if found is None:
        return None, at
    mark, digits, letter, words, unit = found.groups(default="")
    if not unit and _NOT_A_HOUSE.match(text, found.end()):
        return None, at
    if unit == "号" and text[found.end() : found.end() + 1] in _IN_HOUSE:
        return None, at
    main = int(digits) if digits else numeral(words)
    if not main:
        return None, at
    inside = _INSIDE.match(text, found.end()) if unit in ("弄", "巷") else None
    end = inside.end() if inside is not None else found.end()
    return Number(main, unit, mark or letter.upper(), int(inside[1]) if inside is not None else None), end


def _depths(text: str) -> list[int]:
    """How deep in round brackets each place is. A closing bracket without an opening one closes nothing."""
    depth, depths = 0, []
    for char in text:
        if char == ")" and depth:
            depth -= 1
        depths.append(depth)
        if char == "(":
            depth += 1
    return depths


def _is_whole(form: Form, word: str) -> bool:
    return form is Form.FULL or (form is Form.FORMER and word[-1] in "区县市")


def _alike(chain: Chain) -> int:
    """See `Mention.alike`."""
    if any(len(code) == DISTRICT_DIGITS for code, _, _ in chain):
        return 0
    counts = [streets_called(word) for code, _, word in chain if len(code) == STREET_DIGITS]
    return counts[0] if counts else ANYWHERE


def _is_part_of_a_name(text: str, end: int, word: str) -> bool:
    if word[-1] in _ENDS_OF_FULL_NAMES and len(word) > 2:
        if word[-1] == "市" and text[end : end + 1] == "场":
            return True
        return word[-1] in "市镇乡" and _FULL_GOES_ON.match(text, end) is not None
    return _GOES_ON.match(text, end) is not None


@cache
def reader_for(home: str) -> DivisionReader:
    """The reader of a city, made once: it holds some 15,000 names."""
    return DivisionReader(home)


def _names_for(home: str) -> Names:
    names = dict(area_names())
    if not home:
        return names
    for code, name in streets_of(home):
        if not _GENERIC.fullmatch(name):
            _add(names, name, code)
    for code, name in communities_of(home):
        for spelling in _spellings_of_community(name):
            _add(names, spelling, code)
    return names


def _add(names: dict[str, tuple[Name, ...]], name: str, code: str) -> None:
    if len(name) > 1:
        names[name] = (*names.get(name, ()), Name(code, Form.FULL))


def _spellings_of_community(name: str) -> Iterable[str]:
    """卫星村村委会 -> also 卫星村; 华山居委会 stays: 华山 is many things."""
    for ending in ("村民委员会", "村委会", "居民委员会", "居委会", "社区"):
        if name.endswith(ending):
            stem = name.removesuffix(ending)
            yield name
            if ending.startswith("村") and len(stem) > 1:
                yield stem if stem.endswith("村") else stem + "村"
            elif ending.startswith("居"):
                yield stem + "居委"
                yield stem + "居民委员会"
            return
    yield name
