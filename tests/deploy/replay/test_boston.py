"""Boston's tickets through the whole loop, in process: the loop's verdicts are the city's own."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from deploy.replay.boston import RecordedTicket, department_id, last_moment_ms, recorded_tickets
from deploy.replay.boston_city import DESK, INSPECTION, make_city, responsible
from deploy.replay.boston_story import Slice, story
from deploy.replay.boston_verdicts import Kind, Verdicts, compare
from deploy.replay.mapping_file import SHIPPED
from schemas.action import ActionName, encode_action
from schemas.errors import SettingsError
from schemas.incident import IncidentChange, State
from schemas.incident_types import built_in_types
from schemas.loop_record import LoopKind, LoopRecord, TicketInLoop, encode_tick
from schemas.notification import Notification, NotificationKind
from streams.loop_core import LoopCore
from streams.loop_settings import DispatchSettings
from tests.deploy.replay.made_up import write
from topology.city import City

ARRIVED_MS = 1_790_000_000_000
WHOLE = Path(__file__).resolve().parents[4] / "shared" / "data"  # beside the checkout, where there is one


@pytest.fixture(scope="module")
def tickets() -> list[RecordedTicket]:
    return recorded_tickets(None)


@pytest.fixture(scope="module")
def city(tickets: list[RecordedTicket], tmp_path_factory: pytest.TempPathFactory) -> City:
    return make_city(tmp_path_factory.mktemp("boston") / "city", tickets)


def played(slices: Iterable[Slice], tickets: Sequence[RecordedTicket], city: City) -> Outputs:
    """What the loop makes of the story; its inputs as intake would write them."""
    settings = DispatchSettings(merge=False, ticket_deadlines=False, ticker=False)
    core = LoopCore(city, built_in_types(), settings)
    by_id = {ticket.ticket_id: ticket for ticket in tickets}
    outputs = Outputs()
    raw = 0

    def feed(kind: LoopKind, payload: bytes = b"", asked: list[TicketInLoop] | None = None) -> None:
        place = len(outputs.causes)
        outputs.causes.append(kind)
        record = LoopRecord(
            kind=kind, cause_topic=kind, cause_partition=0, cause_offset=place, arrived_ms=ARRIVED_MS,
            payload=payload, tickets=asked or [],
        )  # fmt: skip
        for output in core.apply(record, place):
            outputs.take(output)

    for part in slices:
        asked = []
        for name in part.opened:
            ticket = by_id[name]
            asked.append(
                TicketInLoop(
                    ticket_id=name, category=ticket.category, event_at_ms=ticket.opened_ms,
                    source=f"tickets:0:{raw}", due_ms=ticket.due_ms,
                )
            )  # fmt: skip
            raw += 1
        if asked:
            feed(LoopKind.TICKETS, asked=asked)
        for action in part.actions:
            feed(LoopKind.ACTION, encode_action(action))
        feed(LoopKind.TICK, encode_tick(part.tick))
    return outputs


class Outputs:
    def __init__(self) -> None:
        self.causes: list[LoopKind] = []
        self.outcomes: dict[str, bool | None] = {}
        self.states: dict[str, State] = {}
        self.leads: dict[str, str | None] = {}
        self.changes: Counter[str] = Counter()
        self.refused: list[Notification] = []

    def take(self, output: IncidentChange | Notification) -> None:
        if isinstance(output, Notification):
            if output.kind in (NotificationKind.REFUSED, NotificationKind.UNREADABLE):
                self.refused.append(output)
            return
        self.changes[output.action] += 1
        for ticket in output.tickets:
            self.outcomes[ticket.ticket_id] = ticket.on_time
            self.states[ticket.ticket_id] = output.state
            self.leads[ticket.ticket_id] = output.lead


def agreement(verdicts: Verdicts) -> dict[Kind, tuple[int, int]]:
    return {kind: (line.agree, line.tickets) for kind, line in verdicts.lines.items()}


def test_the_verdicts_of_the_shipped_tickets_are_the_recorded_ones(tickets: list[RecordedTicket], city: City) -> None:
    outputs = played(story(tickets, city), tickets, city)
    verdicts = compare(tickets, outputs.outcomes)
    assert not outputs.refused, outputs.refused[:3]
    assert verdicts.holds
    assert agreement(verdicts) == {
        Kind.CLOSED_WITH_DEADLINE: (3957, 3957),
        Kind.OPEN_WITH_DEADLINE: (474, 474),
        Kind.CLOSED_WITHOUT_DEADLINE: (781, 781),
        Kind.OPEN_WITHOUT_DEADLINE: (13, 13),
        Kind.WITHOUT_RECORDED_VERDICT: (0, 11),
    }
    late = {t.ticket_id for t in tickets if t.closed_ms and t.due_ms and t.closed_ms > t.due_ms and not t.verdict}
    assert len(late) == 10 and all(outputs.outcomes[name] is False for name in late), (
        "closed late; the record is silent"
    )
    assert Counter(outputs.states.values())[State.CLOSED] == sum(ticket.closed_ms is not None for ticket in tickets)
    assert outputs.leads == {ticket.ticket_id: ticket.department for ticket in tickets}


@pytest.mark.parametrize("events", [37, 20_000])
def test_the_size_of_slices_changes_no_verdict(events: int, tickets: list[RecordedTicket], city: City) -> None:
    some = tickets[:600]
    outputs = played(story(some, city, events=events), some, city)
    assert compare(some, outputs.outcomes).holds and not outputs.refused


def test_a_wrong_verdict_is_seen(tickets: list[RecordedTicket], city: City) -> None:
    outputs = played(story(tickets[:200], city), tickets[:200], city)
    sure = next(t for t in tickets if t.closed_ms and t.due_ms and t.verdict == "ONTIME")
    verdicts = compare(tickets[:200], outputs.outcomes | {sure.ticket_id: False})
    assert not verdicts.holds and verdicts.lines[Kind.CLOSED_WITH_DEADLINE].apart == [sure.ticket_id]
    del outputs.outcomes[sure.ticket_id]
    verdicts = compare(tickets[:200], outputs.outcomes)
    assert not verdicts.holds and verdicts.missing == [sure.ticket_id]


def test_nothing_is_said_before_it_happened(tickets: list[RecordedTicket], city: City) -> None:
    opened: set[str] = set()
    clock_ms = 0
    for part in story(tickets, city, events=500):
        opened |= set(part.opened)
        assert part.tick.at_ms >= clock_ms, "time does not go back"
        for action in part.actions:
            assert action.ticket_id in opened, "no action outruns its ticket"
            assert isinstance(action.ts, int) and clock_ms <= action.ts <= part.tick.at_ms
        clock_ms = part.tick.at_ms
    assert opened == {ticket.ticket_id for ticket in tickets}
    assert clock_ms > last_moment_ms(tickets)


def test_closing_words_go_with_the_closing_and_with_nothing_else(tickets: list[RecordedTicket], city: City) -> None:
    first = tickets[0]
    assert first.closing_words and "replaced 100 amp fuse" in first.closing_words
    assert first.closing_words.encode() not in first.record.payload
    actions = [action for part in story([first], city) for action in part.actions]
    assert [action.action for action in actions] == ["accept", "start", "finish", "verify_pass", "close"]
    assert [action.result for action in actions] == [None, None, first.closing_words, None, None]
    assert {action.ts for action in actions} == {first.closed_ms}


def test_who_verifies_is_not_who_handled(tickets: list[RecordedTicket], city: City) -> None:
    for part in story(tickets[:300], city):
        for action in part.actions:
            checks = action.action in (ActionName.VERIFY_PASS, ActionName.CLOSE)
            assert (action.department == INSPECTION) == checks


def test_the_city_has_the_departments_of_the_record_and_the_list_names_the_usual_one(
    tickets: list[RecordedTicket], city: City
) -> None:
    assert {ticket.department for ticket in tickets} | {DESK, INSPECTION} == {one.id for one in city.departments}
    lead = city.responsibilities.find("street_light", (), tickets[0].opened_ms)
    assert lead is not None and lead.lead == "PWDx" == responsible(tickets)["street_light"]
    assert city.zone == "America/New_York" and city.duty_desk == DESK
    assert city.deadlines.find("street_light", 1).handle_ms == 14 * 86_400_000, "the city's own, as in the record"


def test_codes_become_ids() -> None:
    assert [department_id(code) for code in ("PWDx", "BPS_", "No Q", " ", "é")] == [
        "PWDx",
        "BPS",
        "No-Q",
        "none",
        "none",
    ]


def test_a_record_that_contradicts_itself_is_refused_with_every_line(tmp_path: Path) -> None:
    lines = gzip.decompress((SHIPPED / "boston311_2011-07-01_2011-07-16.csv.gz").read_bytes()).decode().splitlines()[:5]
    lines[1] = lines[1].replace("ONTIME", "PERHAPS")
    lines[2] = lines[2].replace("2011-07-01 06:12:43", "2010-01-01 00:00:00")
    lines[3] = lines[3].replace("101000295615", "101000295614")
    path = write(tmp_path / "boston311_x.csv", "\n".join(lines) + "\n")
    with pytest.raises(SettingsError) as caught:
        recorded_tickets(tmp_path)
    assert caught.value.problems == [
        f"{path}:2: not_in_table: ontime: expected ONTIME, OVERDUE or nothing, got 'PERHAPS'",
        f"{path}:3: bad_time: closed_dt: 2010-01-01 00:00:00 is before the ticket was opened",
    ]
    lines[1], lines[2] = lines[4].replace("101000295616", "101000295614"), lines[3]
    write(path, "\n".join(lines) + "\n")
    with pytest.raises(SettingsError, match="ticket 101000295614 is there already"):
        recorded_tickets(tmp_path)


def test_the_verdicts_of_the_whole_quarter_are_the_recorded_ones(tmp_path: Path) -> None:
    if not WHOLE.is_dir():
        pytest.skip(f"the whole quarter is not on this machine ({WHOLE}); the shipped 16 days are tested everywhere")
    every = recorded_tickets(WHOLE)
    assert len(every) == 31_828
    some = every[::16]  # a busy machine takes a minute for all of them
    city = make_city(tmp_path / "city", some)
    outputs = played(story(some, city), some, city)
    verdicts = compare(some, outputs.outcomes)
    assert verdicts.holds and not outputs.refused
    unsure = verdicts.lines[Kind.WITHOUT_RECORDED_VERDICT].tickets
    assert sum(line.agree for line in verdicts.lines.values()) == len(some) - unsure
