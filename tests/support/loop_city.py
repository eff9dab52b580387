"""A city with departments, a list of responsibilities, deadlines and holidays, for tests of the loop.

Two districts (West, East) and one subdistrict, see `small_places`. Water matters go to the district's water bureau,
parking to the district's traffic police, gas to the city's gas company, noise to nobody.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from functools import cache
from types import MappingProxyType

from tests.support.small_places import EAST, NORTH_EAST, WEST, two_district_city
from topology.city import City
from topology.deadlines import Deadline, Deadlines
from topology.departments import Department, Departments
from topology.grid import Grid
from topology.jurisdictions import Level
from topology.responsibilities import Responsibilities, Responsibility
from topology.work_calendar import Notices, WeeklyHours, WorkCalendar

GRID = Grid.metric(121.40, 31.10, 121.60, 31.30)
IN_WEST = (121.4505, 31.1505)
NEXT_TO_IT = (121.4515, 31.1505)  # the neighbouring cell
FAR_IN_WEST = (121.4705, 31.1705)
IN_EAST = (121.5505, 31.1505)
IN_NORTH_EAST = (121.5505, 31.2505)
OUTSIDE = (120.0, 30.0)

DESK = "desk"
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
HOURS = WeeklyHours.plain((9 * 60, 17 * 60))  # 8 hours a day

DEPARTMENTS = Departments(
    [
        Department(DESK, "市指挥中心", "City desk", Level.CITY, "300000", None),
        Department("city-water", "市水务局", "City Water", Level.CITY, "300000", DESK),
        Department("west-water", "西区水务局", "West Water", Level.DISTRICT, WEST, "city-water"),
        Department("east-water", "东区水务局", "East Water", Level.DISTRICT, EAST, "city-water"),
        Department("west-roads", "西区市政所", "West Roads", Level.DISTRICT, WEST, DESK),
        Department("west-police", "西区交警", "West Police", Level.DISTRICT, WEST, DESK),
        Department("north-street", "北街道办", "North Street Office", Level.SUBDISTRICT, NORTH_EAST, "east-water"),
        Department("city-gas", "燃气公司", "City Gas", Level.CITY, "300000", None),
    ]
)
RESPONSIBILITIES = Responsibilities(
    [
        Responsibility("waterlogging", WEST, "west-water", ("west-roads", "west-police"), line=2),
        Responsibility("waterlogging", EAST, "east-water", line=3),
        Responsibility("waterlogging", NORTH_EAST, "north-street", line=4),
        Responsibility("parking", WEST, "west-police", line=5),
        Responsibility("gas_leak", "*", "city-gas", line=6),
    ]
)
DEADLINES = Deadlines(
    [
        Deadline("*", 0, 2 * HOUR, 16 * HOUR, 8 * HOUR, "working"),  # two working days to handle
        Deadline("waterlogging", 0, 30 * MINUTE, 4 * HOUR, 8 * HOUR, "calendar"),
        Deadline("waterlogging", 4, 10 * MINUTE, 1 * HOUR, 8 * HOUR, "calendar"),
    ]
)
# National Day 2026: 1 to 7 October off, Saturday 10 October worked
OFF = {date(2026, 10, day): True for day in range(1, 8)} | {date(2026, 10, 10): False}


@cache  # a city is never changed, and its calendar works out a year only once
def loop_city() -> City:
    return replace(
        two_district_city(GRID, (121.40, 31.10, 121.60, 31.30), 121.50, 31.20),
        departments=DEPARTMENTS,
        responsibilities=RESPONSIBILITIES,
        deadlines=DEADLINES,
        calendar=WorkCalendar("Asia/Shanghai", HOURS, Notices(MappingProxyType(OFF), frozenset({2026}))),
        duty_desk=DESK,
    )
