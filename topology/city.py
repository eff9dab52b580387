"""A city: everything that is known about its ground and its offices, from one folder of plain files.

    city.toml              code, names, box, cell size, time zone, datum of the boundaries, working hours, duty desk
    boundaries/*.geojson   jurisdictions: city, districts, subdistricts, communities (topology.jurisdictions)
    departments.csv        who can be given an incident (topology.departments)
    responsibilities.csv   who is, for a category at a place (topology.responsibilities)
    deadlines.csv          and how long it may take (topology.deadlines)
    calendar/*.json        holiday notices (topology.work_calendar); optional, as is what follows
    addresses.csv          places of addresses (topology.addresses)
    networks.csv           roads and drains (topology.networks)
    population.csv         inhabitants of jurisdictions (topology.population)
    devices.csv            places of devices (topology.devices)

Dates in these files are local dates of the city's zone. Loading reports every problem of every file at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeVar
from zoneinfo import ZoneInfo

from schemas.errors import SettingsError
from topology.addresses import AddressLibrary
from topology.city_file import NAME, CityFile, read_city_file
from topology.city_table import FileReport, read_table
from topology.deadlines import Deadlines, read_deadlines
from topology.departments import Department, Departments, read_departments
from topology.grid import Grid
from topology.jurisdictions import Jurisdictions, Level
from topology.levels import Jurisdiction
from topology.networks import Networks
from topology.population import read_population
from topology.responsibilities import Responsibilities, read_responsibilities
from topology.work_calendar import WorkCalendar, read_notices

BUILT_IN: Final = Path(__file__).with_name("cities")
"""The cities that come with the package; each is known by its folder's name."""
DEFAULT_CITY: Final = "shanghai"
BARE_CODE: Final = "000000"
DUTY_DESK: Final = "duty-desk"

T = TypeVar("T")


@dataclass(frozen=True)
class City:
    """One city, loaded once and never changed. `duty_desk` is the department that gets what nobody answers for."""

    code: str
    name_zh: str
    name_en: str
    zone: str
    grid: Grid
    folder: Path | None
    jurisdictions: Jurisdictions
    addresses: AddressLibrary | None
    departments: Departments
    responsibilities: Responsibilities
    deadlines: Deadlines
    calendar: WorkCalendar
    networks: Networks
    devices_path: Path | None
    duty_desk: str
    population: Mapping[str, int] = field(default_factory=dict)
    """Inhabitants by code of jurisdiction; empty where the folder has none."""
    warnings: tuple[str, ...] = ()

    @classmethod
    def bare(cls, grid: Grid, zone: str) -> City:
        """A grid without places: everything works, and all of it is the duty desk's."""
        desk = Department(DUTY_DESK, "值班中心", "Duty desk", Level.CITY, BARE_CODE, None)
        return cls(
            code=BARE_CODE,
            name_zh="城市",
            name_en="City",
            zone=zone,
            grid=grid,
            folder=None,
            jurisdictions=Jurisdictions.empty(grid),
            addresses=None,
            departments=Departments([desk]),
            responsibilities=Responsibilities([]),
            deadlines=Deadlines.plain(),
            calendar=WorkCalendar(zone),
            networks=Networks.empty(),
            devices_path=None,
            duty_desk=DUTY_DESK,
        )

    @classmethod
    def load(cls, folder: Path | str, *, grid: Grid | None = None, zone: str | None = None) -> City:
        """The city of a folder; a plain name such as "shanghai" is one that comes with the package.

        `grid` and `zone` count before those of `city.toml`. Raises SettingsError with every problem of every file.
        """
        folder = city_folder(folder)
        _check_folder(folder)
        report = FileReport()
        file = read_city_file(folder, report)
        if file is not None and zone is not None:
            file = replace(file, zone=zone)
        return _Loading(folder, report, grid).city(file)

    def chain(self, code: str | None, at_ms: int) -> tuple[str, ...]:
        """Codes of a place and of all that it lies in, finest first: what `Responsibilities.find` asks for.

        A division code without a boundary of its own (a place that only an address told) comes before the finest
        known division whose code it begins with. None, or a code of elsewhere: not even the city is sure.
        """
        if code is None:
            return ()
        known = self.jurisdictions.chain(code, at_ms)
        if known or not (code.isascii() and code.isdecimal()):
            return tuple(place.code for place in known)
        for above in (code[:12], code[:9], code[:6], f"{code[:4]}00", f"{code[:2]}0000"):
            known = self.jurisdictions.chain(above, at_ms) if above != code else ()
            if known:
                return (code, *(place.code for place in known))
        return ()


def city_folder(folder: Path | str) -> Path:
    """Where a city's folder is: a plain name that ships with the package means that one, all else is a path."""
    if isinstance(folder, str) and folder in shipped_cities():
        return BUILT_IN / folder
    return Path(folder)


def load_city_file(folder: Path) -> CityFile:
    """Only the folder's `city.toml`. Raises SettingsError with every problem of it."""
    _check_folder(folder)
    report = FileReport()
    file = read_city_file(folder, report)
    if file is None:
        raise SettingsError(report.all_problems())
    return file


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        ways = f"`tongguan city new` makes one; {', '.join(shipped_cities())} comes with Tongguan"
        raise SettingsError(f"{folder}: no such city folder; {ways}")
    if not (folder / NAME).is_file():
        raise SettingsError(f"{folder}: not a city folder, for it has no {NAME}; `tongguan city new` makes one")


def shipped_cities() -> tuple[str, ...]:
    return tuple(sorted(path.name for path in BUILT_IN.iterdir() if (path / NAME).is_file()))


class _Loading:
    """One reading of a folder. Every file is read, whatever is wrong with the others."""

    def __init__(self, folder: Path, report: FileReport, grid: Grid | None) -> None:
        self._folder = folder
        self._report = report
        self._grid = grid

    def city(self, file: CityFile | None) -> City:
        folder, report = self._folder, self._report
        zone = ZoneInfo(file.zone if file is not None else "UTC")
        notices = read_notices(sorted((folder / "calendar").glob("*.json")), report)
        jurisdictions = None if file is None else self._jurisdictions(file)
        places = None if jurisdictions is None else jurisdictions.entries
        departments = read_departments(folder / "departments.csv", places, report)
        responsibilities = read_responsibilities(folder / "responsibilities.csv", places, departments, zone, report)
        if file is None:
            raise SettingsError(report.all_problems())
        calendar = WorkCalendar(file.zone, file.hours, notices)
        deadlines = read_deadlines(folder / "deadlines.csv", calendar.working_day_ms, report)
        addresses = self._addresses(file, jurisdictions)
        networks = self._networks(file)
        population = self._population(places)
        devices_path = self._optional("devices.csv")
        if file.duty_desk not in departments and len(departments):
            report.problem(
                folder / NAME,
                file.lines["duty_desk"],
                f"duty_desk: {file.duty_desk!r} is no department of departments.csv",
            )
        if jurisdictions is not None and not any(place.code == file.code for place in jurisdictions.entries):
            report.warn(folder / NAME, file.lines["code"], f"code: {file.code!r} is in no boundary file")
        if report.problems or jurisdictions is None:
            raise SettingsError(report.all_problems())
        return City(
            code=file.code,
            name_zh=file.name_zh,
            name_en=file.name_en,
            zone=file.zone,
            grid=self._grid or file.grid(),
            folder=folder,
            jurisdictions=jurisdictions,
            addresses=addresses,
            departments=departments,
            responsibilities=responsibilities,
            deadlines=deadlines,
            calendar=calendar,
            networks=networks,
            devices_path=devices_path,
            duty_desk=file.duty_desk,
            population=population,
            warnings=tuple(report.warnings),
        )

    def _jurisdictions(self, file: CityFile) -> Jurisdictions | None:
        """None after the problems have been reported."""
        files = sorted((self._folder / "boundaries").glob("*.geojson"))
        found = self._tried(
            lambda: Jurisdictions.load(files, self._grid or file.grid(), default_datum=file.datum, zone=file.zone)
        )
        if found is not None:
            self._report.warnings += found.warnings
        return found

    def _networks(self, file: CityFile) -> Networks:
        path = self._optional("networks.csv")
        if path is None:
            return Networks.empty()
        found = self._tried(lambda: Networks.load(path, default_datum=file.datum, grid=self._grid or file.grid()))
        if found is None:
            return Networks.empty()
        self._report.warnings += found.warnings
        return found

    def _population(self, places: Sequence[Jurisdiction] | None) -> Mapping[str, int]:
        path = self._optional("population.csv")
        if path is None:
            return {}
        found = read_population(path, self._report)
        known = None if places is None else {place.code for place in places}
        if known is not None and not found.keys() <= known:
            for row in read_table(path, ("code",), ("inhabitants",), FileReport()):
                if row.fields["code"] not in known:
                    self._report.problem(path, row.line, f"code {row.fields['code']!r} is in no boundary file")
        return found

    def _addresses(self, file: CityFile, jurisdictions: Jurisdictions | None) -> AddressLibrary | None:
        """Of a city without a list of its own: the divisions of the country. None after problems."""

        def code_at(lon: float, lat: float) -> str | None:
            return None if jurisdictions is None else jurisdictions.code_at(lon, lat, newest)

        bounds = [
            moment
            for place in (jurisdictions.entries if jurisdictions is not None else ())
            for moment in (place.valid_from_ms, place.valid_to_ms)
            if moment is not None
        ]
        newest = max(bounds, default=0)  # an address list is of the present: the boundaries after their last change
        path = self._optional("addresses.csv")
        found = self._tried(
            lambda: AddressLibrary.load(
                file.code, path, default_datum=file.datum, grid=self._grid or file.grid(), code_at=code_at
            )
        )
        if found is not None:
            self._report.warnings += found.warnings
        return found

    def _optional(self, name: str) -> Path | None:
        path = self._folder / name
        return path if path.is_file() else None

    def _tried(self, load: Callable[[], T]) -> T | None:
        """What another reader loads, its problems added to the report."""
        try:
            return load()
        except SettingsError as error:
            self._report.problems += error.problems
            return None
