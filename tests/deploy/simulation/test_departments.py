"""Departments at work, held against the real loop: what they do is legal, every case ends, each bad habit shows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import msgspec
import pytest

from deploy.simulation.departments import Departments, DepartmentSettings, Habit
from schemas.action import Role
from schemas.errors import SettingsError
from schemas.incident import IncidentChange, State, Step
from schemas.notification import NotificationKind
from streams.loop_hash import verify_chain
from tests.support.loop_city import DESK, FAR_IN_WEST, IN_EAST, IN_NORTH_EAST, IN_WEST, MINUTE
from tests.support.loop_log import LoopLog

NONE = DepartmentSettings(slow_share=0.0, returns_share=0.0, forgets_share=0.0, sloppy_share=0.0)
ONLY = {
    Habit.PROMPT: NONE,
    Habit.SLOW: replace(NONE, slow_share=1.0),
    Habit.RETURNS: replace(NONE, returns_share=1.0),
    Habit.FORGETS: replace(NONE, forgets_share=1.0),
    Habit.SLOPPY: replace(NONE, sloppy_share=1.0),
}


@dataclass
class City:
    """A loop whose incidents the departments work, minute by minute."""

    settings: DepartmentSettings
    seed: int = 1
    log: LoopLog = field(default_factory=LoopLog)
    read: int = 0

    def __post_init__(self) -> None:
        self.departments = Departments(DESK, self.settings, seed=self.seed)

    def open_some(self) -> None:
        self.log.alert("A-1", place=IN_WEST)
        self.log.alert("A-2", place=IN_EAST, severity=4)
        self.log.ticket("T-1", "flood", IN_NORTH_EAST)
        self.log.ticket("T-2", "parking", FAR_IN_WEST)
        self.log.ticket("T-3", "noise", FAR_IN_WEST)  # nobody answers for it

    def run(self, minutes: int) -> None:
        for _ in range(minutes):
            self.log.now_ms += MINUTE
            for change in self.log.changes[self.read :]:
                self.departments.see(change)
            self.read = len(self.log.changes)
            for action in self.departments.due(self.log.now_ms):
                fields = {name: value for name, value in msgspec.to_builtins(action).items() if value is not None}
                self.log.act(**fields)
            self.log.tick()

    def history(self) -> list[IncidentChange]:
        return self.log.changes

    def refused(self) -> list[str]:
        return [one.sentence_en for one in self.log.notifications if one.kind is NotificationKind.REFUSED]


def worked(habit: Habit, minutes: int = 60 * 24) -> City:
    city = City(ONLY[habit])
    city.open_some()
    city.run(minutes)
    return city


@pytest.mark.parametrize("habit", list(Habit))
def test_every_incident_is_closed_in_the_end_and_nothing_that_was_done_is_refused(habit: Habit) -> None:
    city = worked(habit, minutes=60 * 24 * 3)
    assert len(city.log.ids) == 5
    assert {city.log.latest(incident).state for incident in city.log.ids} == {State.CLOSED}
    assert city.refused() == []
    for incident in city.log.ids:
        assert verify_chain(city.log.history(incident)) == []


def test_prompt_work_keeps_its_deadlines() -> None:
    for incident in (city := worked(Habit.PROMPT)).log.ids:
        latest = city.log.latest(incident)
        assert not (latest.accept_overdue or latest.handle_overdue or latest.verify_overdue)
        assert (latest.hand_overs, latest.reopenings) == (0, 0)


def steps(city: City) -> set[Step]:
    return {change.action for change in city.history()}


def test_forgotten_work_is_found_by_its_deadline() -> None:
    city = worked(Habit.FORGETS, minutes=60 * 24 * 3)
    assert steps(city) >= {Step.REMIND} or steps(city) >= {Step.OVERDUE}
    assert Step.ACCEPT in steps(city)


def test_slow_work_is_overdue() -> None:
    assert Step.OVERDUE in steps(worked(Habit.SLOW, minutes=60 * 24 * 3))


def test_returned_work_is_dispatched_again_to_one_that_assists_if_there_is_one() -> None:
    city = worked(Habit.RETURNS)
    history = city.log.history()  # water in the west, where roads and police assist
    assert [change.lead for change in history if change.action is Step.DISPATCH] == ["west-water", "west-roads"]
    assert city.log.latest().hand_overs == 1


def test_work_that_was_not_done_fails_its_verification_once() -> None:
    city = worked(Habit.SLOPPY)
    assert Step.VERIFY_FAIL in steps(city)
    assert {city.log.latest(incident).reopenings for incident in city.log.ids} == {1}


def test_nobody_verifies_what_he_handled() -> None:
    for change in worked(Habit.SLOPPY).history():
        if change.action in (Step.VERIFY_PASS, Step.VERIFY_FAIL):
            assert change.role is Role.VERIFIER and change.actor != change.handled_by


def test_the_same_city_is_worked_in_the_same_way_and_another_seed_in_another() -> None:
    def told(seed: int) -> list[tuple[str, int]]:
        city = City(DepartmentSettings(), seed)
        city.open_some()
        city.run(60 * 6)
        return [(change.action.value, change.at_ms) for change in city.history()]

    assert told(1) == told(1)
    assert told(1) != told(2)


def test_habits_come_in_their_shares() -> None:
    departments = Departments(DESK, DepartmentSettings())
    habits = [departments.habit_of(f"2026-{n}") for n in range(4000)]
    assert habits.count(Habit.SLOW) / 4000 == pytest.approx(0.10, abs=0.02)
    assert habits.count(Habit.FORGETS) / 4000 == pytest.approx(0.06, abs=0.02)
    assert habits.count(Habit.PROMPT) / 4000 == pytest.approx(0.66, abs=0.03)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"slow_share": 0.9, "sloppy_share": 0.3}, "more than 1"),
        ({"slow_share": -0.1}, "negative"),
        ({"accept_minutes": (5.0, 1.0)}, "accept_minutes"),
        ({"slow_factor": 0.5}, "slow_factor"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        DepartmentSettings(**changes)  # type: ignore[arg-type]  # what is wrong is the test
