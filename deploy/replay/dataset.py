"""A data set on disk: its files found, read through once before anything is sent, then streamed in its order."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Final

from deploy.replay.mapping import Input, SetMapping
from deploy.replay.mapping_file import SHIPPED
from deploy.replay.places import read_table
from deploy.replay.records import Maker, Record
from deploy.replay.rows import Fault, rows
from deploy.replay.tally import Note, Skip, Tally
from schemas.errors import SettingsError, TongguanError

REPORT_EVERY: Final = 20_000  # rows


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file, and which of the mapping's inputs it belongs to."""

    path: Path
    input: int


@dataclass(slots=True)
class Survey:
    """What a reading of the whole set has found."""

    tally: Tally = field(default_factory=Tally)
    first_ms: int | None = None
    last_ms: int | None = None
    sorted_files: set[Path] = field(default_factory=set)

    def saw(self, at_ms: int) -> None:
        self.first_ms = at_ms if self.first_ms is None else min(self.first_ms, at_ms)
        self.last_ms = at_ms if self.last_ms is None else max(self.last_ms, at_ms)


class DataSet:
    """A mapping and the files it speaks of. Raises SettingsError when made, if files are missing or unreadable."""

    def __init__(self, mapping: SetMapping, folder: Path | None) -> None:
        """`folder` holds the files, or a folder named like the set that does; None takes the shipped extract."""
        self.mapping = mapping
        self.folder = _folder_of(mapping, folder)
        self.files = _files(mapping, self.folder, shipped=folder is None)
        self._tables = _tables(mapping, self.folder)

    def survey(self, progress: Callable[[int], None] = lambda rows: None) -> Survey:
        """Read everything once: count, name what cannot be used, and learn which files are in order.

        Raises SettingsError when a file as a whole is not what the mapping says; nothing has been sent then.
        """
        survey = Survey()
        problems: list[str] = []
        makers = self._makers()
        for file in self.files:
            try:
                if self._survey_file(file, makers[file.input], survey, progress):
                    survey.sorted_files.add(file.path)
            except SettingsError as error:
                problems += error.problems
        if not problems:
            problems = self._gone(makers, survey.tally)
        if not problems and not survey.tally.records:
            problems = [f"{self.folder}: none of {survey.tally.rows:,} rows gives a record", *survey.tally.places]
        if problems:
            raise SettingsError(problems)
        return survey

    def records(self, survey: Survey) -> Iterator[Record]:
        """The records in the set's order: by event time across files, or in the recorded order of each file.

        Files that are in order are streamed; only those that are not are sorted in memory.
        """
        makers = self._makers()
        tally = Tally()
        streams = [self._file_records(file, makers[file.input], tally, survey) for file in self.files]
        # of streams that are not in order, this keeps the order of each and interleaves them by time as well as it goes
        yield from heapq.merge(*streams, key=itemgetter(0))
        if tally.records != survey.tally.records:
            raise TongguanError(
                f"{self.folder}: the files changed while they were replayed: "
                f"{survey.tally.records:,} records at first, {tally.records:,} now"
            )

    def _file_records(self, file: InputFile, maker: Maker, tally: Tally, survey: Survey) -> Iterator[Record]:
        stream = self._read(file, maker, tally)
        if self.mapping.order == "recorded" or file.path in survey.sorted_files:
            return stream
        return iter(sorted(stream, key=itemgetter(0)))

    def _survey_file(self, file: InputFile, maker: Maker, survey: Survey, progress: Callable[[int], None]) -> bool:
        """Whether the file's records are in order of event time."""
        before_ms, in_order = 0, True
        reported = survey.tally.rows
        for record in self._read(file, maker, survey.tally):
            survey.saw(record.at_ms)
            if record.at_ms < before_ms:
                in_order = False
                survey.tally.notes[Note.EARLIER] += 1
            before_ms = record.at_ms
            if survey.tally.rows - reported >= REPORT_EVERY:
                reported = survey.tally.rows
                progress(reported)
        progress(survey.tally.rows)
        return in_order

    def _read(self, file: InputFile, maker: Maker, tally: Tally) -> Iterator[Record]:
        rule = self.mapping.inputs[file.input]
        for row in rows(file.path, rule, wanted=wanted_columns(rule), sensors=self._sensors(rule)):
            tally.rows += 1
            if isinstance(row, Fault):
                tally.skip(f"{file.path}:{row.at}", Skip.BAD_ROW, row.detail)
            else:
                yield from maker.make(row, f"{file.path}:{row.at}", tally)

    def _makers(self) -> list[Maker]:
        return [Maker(self.mapping, rule, self._tables) for rule in self.mapping.inputs]

    def _sensors(self, rule: Input) -> frozenset[str] | None:
        """The sensors of the tables of positions, which the headings of a wide file must be."""
        names = [record.place.table.file for record in rule.records if record.place and record.place.table]
        return frozenset(name for file in names for name in self._tables[file]) if names else None

    def _gone(self, makers: Sequence[Maker], tally: Tally) -> list[str]:
        """Fields that a JSON set does not have any more. CSV files have told by their headers."""
        gone = []
        for number, (rule, maker) in enumerate(zip(self.mapping.inputs, makers, strict=True)):
            if rule.format != "csv":
                gone += [
                    f"{self.folder}: inputs[{number}]: field {name} is in none of {tally.rows:,} rows; have the set's "
                    "fields changed? nothing of the set was sent"
                    for name, found in maker.found.items()
                    if not found
                ]
        return gone


def _folder_of(mapping: SetMapping, folder: Path | None) -> Path:
    if folder is None:
        if not mapping.shipped:
            raise SettingsError(
                f"{mapping.name}: no extract of this set comes with Tongguan; name the folder that holds its files "
                f"with --data-dir (origin: {mapping.origin})"
            )
        return SHIPPED
    if not folder.is_dir():
        raise SettingsError(f"{folder}: no such folder")
    return folder / mapping.name if (folder / mapping.name).is_dir() else folder


def _files(mapping: SetMapping, folder: Path, *, shipped: bool) -> list[InputFile]:
    found: list[InputFile] = []
    problems = []
    for number, rule in enumerate(mapping.inputs):
        patterns = rule.files
        paths = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
        if shipped:
            paths = [path for path in paths if path.name in mapping.shipped]
        if not paths:
            problems.append(f"{folder}: no file is named {' or '.join(patterns)}; is it the folder of {mapping.name}?")
        names = {path.name for path in paths}
        problems += [
            f"{path}: is there twice, packed and unpacked; keep one" for path in paths if f"{path.name}.gz" in names
        ]
        found += [InputFile(path, number) for path in paths]
    if problems:
        raise SettingsError(problems)
    return found


def _tables(mapping: SetMapping, folder: Path) -> Mapping[str, dict[str, tuple[str, str]]]:
    found: dict[str, dict[str, tuple[str, str]]] = {}
    problems: list[str] = []
    for rule in mapping.inputs:
        for record in rule.records:
            place = record.place
            if place is not None and place.table is not None and place.table.file not in found:
                try:
                    found[place.table.file] = read_table(folder / place.table.file, place)
                except SettingsError as error:
                    problems += error.problems
    if problems:
        raise SettingsError(problems)
    return found


def wanted_columns(rule: Input) -> list[str]:
    """The columns that a CSV file must have."""
    names = [] if rule.wide is None else list(rule.wide.keep)
    names += [name for skip in rule.skip for name in skip.when]
    for record in rule.records:
        names += [*record.names, *rule.time_of(record).columns]
    return list(dict.fromkeys(names))
