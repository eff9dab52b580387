"""A city folder for Boston, made of its tickets: the box, the departments of their codes, who answers for what.

What the data do not say is said nowhere: there are no wards' boundaries, no holidays of 2011 and no hours of offices.
The deadlines that count are the tickets' own. Those of stages (accept, handle, verify) only remind and escalate; they
are the medians of the recorded spans, on the calendar's clock.
"""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Final

from deploy.replay.boston import SET, RecordedTicket
from deploy.replay.mapping_file import find_mapping
from schemas.kinds import built_in_kinds
from schemas.sources import Source
from topology.city import City
from topology.city_new import Request, make

CODE: Final = "2507000"
"""Boston's place code of the United States' census (FIPS)."""
ZONE: Final = "America/New_York"
DESK: Final = f"{CODE}-ops"
"""What `city new --box` calls the duty desk: it gets what nobody answers for."""
INSPECTION: Final = "boston-inspection"
"""Verifies. The data do not say who did: whoever handles may not, so there has to be somebody else."""
DAY_MS: Final = 86_400_000
VERIFY_DAYS: Final = 5

NAMES: Final = {
    "PWDx": ("公共工程局", "Public Works Department"),
    "ISD": ("检查服务局", "Inspectional Services"),
    "PARK": ("公园与休闲局", "Parks & Recreation Department"),
    "BTDT": ("交通局", "Transportation - Traffic Division"),
    "INFO": ("市长24小时热线", "Mayor's 24 Hour Hotline"),
    "PROP": ("物业管理局", "Property Management"),
    "BWSC": ("供水与排水委员会", "Boston Water and Sewer Commission"),
    "DISB": ("残障人士委员会", "Commission for Persons with Disabilities"),
    "BPS": ("公立学校", "Boston Public Schools"),
    "BHA": ("住房管理局", "Boston Housing Authority"),
    "No-Q": ("未分配队列", "no queue"),
}
"""Of the codes in the data; another year's other codes are called by themselves."""


def make_city(folder: Path, tickets: Sequence[RecordedTicket]) -> City:
    """Write the folder, which must not exist or be empty, and load it. Raises SettingsError."""
    box = find_mapping(SET).city
    assert box is not None  # the shipped mapping has one
    edges = (box.west, box.south, box.east, box.north)
    make(Request(folder=folder, box=edges, code=CODE, name_zh="波士顿", name_en="Boston", zone=ZONE))
    for name, header, lines in (
        ("departments.csv", "id,name_zh,name_en,level,jurisdiction,parent", _departments(tickets)),
        (
            "responsibilities.csv",
            "category,jurisdiction,lead,assisting,valid_from,valid_to",
            _responsibilities(tickets),
        ),
        ("deadlines.csv", "category,severity,accept,handle,verify,clock,why", _deadlines(tickets)),
    ):
        text = io.StringIO()
        text.write(f"# Made of the recorded tickets by deploy/replay/boston_city.py.\n{header}\n")
        csv.writer(text, lineterminator="\n").writerows(lines)
        (folder / name).write_text(text.getvalue(), encoding="utf-8")
    return City.load(folder)


def responsible(tickets: Iterable[RecordedTicket]) -> dict[str, str]:
    """The department that most tickets of a category were recorded with; by name where two have as many."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for ticket in tickets:
        counts[ticket.category][ticket.department] += 1
    return {category: min(found, key=lambda one: (-found[one], one)) for category, found in sorted(counts.items())}


def _departments(tickets: Iterable[RecordedTicket]) -> list[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = [(DESK, "波士顿值班中心", "Boston Operations Centre", "city", CODE, "")]
    lines.append((INSPECTION, "核查处（本回放所设）", "Inspection (made for this replay)", "city", CODE, DESK))
    for code in sorted({ticket.department for ticket in tickets}):
        zh, en = NAMES.get(code, (code, code))
        lines.append((code, zh, en, "city", CODE, DESK))
    return lines


def _responsibilities(tickets: Sequence[RecordedTicket]) -> list[tuple[str, ...]]:
    lines = [(category, "*", lead, "", "", "") for category, lead in responsible(tickets).items()]
    return [*lines, ("*", "*", DESK, "", "", "")]


def _deadlines(tickets: Iterable[RecordedTicket]) -> list[tuple[str, ...]]:
    spans: dict[str, list[int]] = defaultdict(list)
    for ticket in tickets:
        if ticket.due_ms is not None and ticket.due_ms > ticket.opened_ms:
            spans[ticket.category].append(ticket.due_ms - ticket.opened_ms)
    known = [kind.name for kind in built_in_kinds().of(Source.TICKETS)]
    lines = [
        _deadline(name, spans[name], f"median of {len(spans[name])} recorded deadlines")
        for name in known
        if spans[name]
    ]
    everything = [span for category in spans.values() for span in category]
    return [*lines, _deadline("*", everything or [7 * DAY_MS], "median of all recorded deadlines")]


def _deadline(category: str, spans: Sequence[int], why: str) -> tuple[str, ...]:
    days = f"{min(1500, max(1, round(median(spans) / DAY_MS)))}d"
    return (category, "0", days, days, f"{VERIFY_DAYS}d", "calendar", why)
