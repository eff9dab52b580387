"""The configuration: one typed model, composed of each module's own settings.

Nothing here reads files or the environment (`deploy/config_load.py` does) and no field of a module is repeated: a
section's settings live beside the code that uses them. The sentence under a field is its line in the sample file.
"""

from __future__ import annotations

import ssl
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit, urlunsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, JsonValue, SecretStr, field_validator, model_validator

from detectors.contract import Detector
from detectors.loading import build_detectors
from schemas.errors import SettingsError
from schemas.incident_types import IncidentTypes, load_incident_types
from streams.archive_core import ArchiveSettings
from streams.clickhouse import parse_address
from streams.join_core import JoinSettings
from streams.locate_settings import LocateSettings
from streams.loop_settings import DispatchSettings
from streams.metrics import DEFAULT_HOST, DEFAULT_PORT
from streams.topics import TopicNames, TopicSpec, TopicsSettings, topic_specs
from topology.city import DEFAULT_CITY, City, city_folder, load_city_file
from topology.city_file import CityFile
from topology.grid import Grid

SECTION_RULES = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class KafkaSettings(BaseModel):
    """Where Kafka is and how to be let in."""

    model_config = SECTION_RULES

    bootstrap: str | None = None
    """host:port of one or more brokers, with commas between. Unset: the local stack's broker."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How connections are secured."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    """Needed with a SASL protocol."""
    sasl_username: str | None = None
    """Needed with a SASL protocol."""
    sasl_password: SecretStr | None = None
    """Needed with a SASL protocol. Better set as TONGGUAN_KAFKA__SASL_PASSWORD than in a file."""
    ssl_cafile: Path | None = None
    """PEM file of the authority that signed the brokers' certificates. Unset: the system's."""
    session_timeout_s: Annotated[float, Field(ge=1, le=300)] = 10.0
    """How long a worker may be silent before the others take over its partitions: the gap after a kill -9. Too short,
    and a busy machine is taken for a dead one. The broker has limits of its own (group.min.session.timeout.ms)."""

    stuck_after_s: Annotated[float, Field(ge=10, le=3600)] = 60.0
    """How long a consumer of a worker may commit nothing although messages wait, before the worker ends with status 75
    to be started again. Waiting for a broker or for ClickHouse does not count."""

    @property
    def heartbeat_s(self) -> float:
        """Three beats may be missed."""
        return self.session_timeout_s / 3.5

    @field_validator("bootstrap")
    @classmethod
    def _is_a_list_of_addresses(cls, bootstrap: str | None) -> str | None:
        if bootstrap is None:
            return None
        addresses = [address.strip() for address in bootstrap.split(",")]
        for address in addresses:
            host, _, port = address.rpartition(":")
            if not host or not port.isascii() or not port.isdecimal() or not 0 < int(port) < 65536:
                raise ValueError(f"{address!r} is not host:port")
        return ",".join(addresses)

    @model_validator(mode="after")
    def _has_credentials(self) -> Self:
        given = (self.sasl_mechanism, self.sasl_username, self.sasl_password)
        if self.security_protocol.startswith("SASL") and None in given:
            raise ValueError(
                f"security_protocol {self.security_protocol} needs sasl_mechanism, sasl_username and sasl_password"
            )
        if not self.security_protocol.startswith("SASL") and any(part is not None for part in given):
            raise ValueError(
                f"sasl_* is set but security_protocol is {self.security_protocol}, which would ignore it; "
                "use SASL_SSL or SASL_PLAINTEXT"
            )
        return self

    def kafka_python_options(self) -> dict[str, Any]:
        """The security settings under kafka-python's names. Holds the password in clear: do not print."""
        options: dict[str, Any] = {"security_protocol": self.security_protocol}
        if self.sasl_password is not None:
            options |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": self.sasl_password.get_secret_value(),
            }
        if self.security_protocol.endswith("SSL"):
            options["ssl_context"] = ssl.create_default_context(cafile=self.ssl_cafile)
        return options

    def aiokafka_options(self) -> dict[str, Any]:
        """The same under aiokafka's names, which are kafka-python's."""
        return self.kafka_python_options()


class ClickHouseSettings(BaseModel):
    """Where the history is kept."""

    model_config = SECTION_RULES

    url: str | None = None
    """http://host:8123, https://user:password@host:8443, or chdb:///directory for an embedded engine. Unset: the local
    stack's, in data_dir."""
    user: str = "default"
    """The user to log in as; one written in the url wins."""
    password: SecretStr = SecretStr("")
    """The user's password. Better set as TONGGUAN_CLICKHOUSE__PASSWORD than in a file."""
    database: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")] = "tongguan"
    """The database that holds all tables; created by `tongguan migrate`."""

    @model_validator(mode="before")
    @classmethod
    def _take_credentials_out_of_the_url(cls, data: Any) -> Any:
        """So that the address can be printed while the password cannot."""
        url = data.get("url") if isinstance(data, dict) else None
        if not isinstance(url, str):
            return data
        try:
            address = parse_address(url)
        except SettingsError as error:
            raise ValueError(str(error).removeprefix("clickhouse url: ")) from None
        if address.embedded:
            return data
        parts = urlsplit(url)
        place = parts.netloc.rpartition("@")[2]
        taken = {"url": urlunsplit((parts.scheme, place, "", "", ""))}
        if parts.username is not None:
            taken["user"] = address.user
        if parts.password is not None:
            taken["password"] = address.password
        if parts.path.strip("/"):
            taken["database"] = address.database
        return data | taken


class CitySettings(BaseModel):
    """The city that is watched. Its folder says where its districts are and who answers for what; `tongguan city new`
    makes one, `tongguan city check` tells what is wrong with one. A setting here counts before what the folder says."""

    model_config = SECTION_RULES

    folder: Annotated[str | None, Field(min_length=1)] = None
    """A city folder, or the name of one that comes with Tongguan: shanghai. Unset: shanghai; but with any edge of a box
    of your own below, a bare grid without places and offices, where everything goes to one duty desk."""
    west: Annotated[float | None, Field(ge=-180, le=180)] = None
    """Western edge of the grid, degrees of longitude, WGS-84. Unset, as the edges below: the folder's or Shanghai's."""
    south: Annotated[float | None, Field(ge=-85, le=85)] = None
    """Southern edge, degrees of latitude, WGS-84."""
    east: Annotated[float | None, Field(ge=-180, le=180)] = None
    """Eastern edge, degrees of longitude, WGS-84."""
    north: Annotated[float | None, Field(ge=-85, le=85)] = None
    """Northern edge, degrees of latitude, WGS-84."""
    cell_m: Annotated[float | None, Field(ge=1, le=100_000)] = None
    """Edge of a cell in metres. Unset: the folder's, else 100 m, the ten-thousand-metre unit grid (万米单元网格)."""
    cell_deg: Annotated[float | None, Field(gt=0, le=1)] = None
    """Edge of a cell in degrees, both ways; where it is given, cell_m does not count."""
    zone: str | None = None
    """Time zone of working hours and of dates in the folder's files, in which commands show times and read those
    written without one. Unset: the folder's, else Asia/Shanghai. Records have their own rule."""
    devices: Path | None = None
    """Device register (CSV or JSON lines: device_id, lon, lat): places of devices whose records carry none. Unset: the
    folder's devices.csv, if it has one."""
    kinds: Path | None = None
    """Registry of known metrics, events and ticket categories. Unset: the one that comes with Tongguan."""

    @model_validator(mode="after")
    def _has_an_area(self) -> Self:
        if self.west is not None and self.east is not None and self.west >= self.east:
            raise ValueError(f"west={self.west} must be less than east={self.east}")
        if self.south is not None and self.north is not None and self.south >= self.north:
            raise ValueError(f"south={self.south} must be less than north={self.north}")
        return self

    @field_validator("zone")
    @classmethod
    def _is_a_zone(cls, zone: str | None) -> str | None:
        if zone is None:
            return None
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("not a time zone; write a name such as Asia/Shanghai or UTC") from None
        return zone

    @property
    def is_bare(self) -> bool:
        """Whether there is only a grid: a box of one's own, and no folder."""
        return self.folder is None and any(edge is not None for edge in (self.west, self.south, self.east, self.north))

    @property
    def zone_info(self) -> ZoneInfo:
        return ZoneInfo(self.zone or self._file().zone)

    def grid(self) -> Grid:
        """The grid in force. Raises SettingsError where the folder's `city.toml` cannot be used."""
        file = self._file()
        west = file.west if self.west is None else self.west
        south = file.south if self.south is None else self.south
        east = file.east if self.east is None else self.east
        north = file.north if self.north is None else self.north
        cell_deg = self.cell_deg if self.cell_deg is not None or self.cell_m is not None else file.cell_deg
        if cell_deg is not None:
            return Grid.degrees(west, south, east, north, cell_deg)
        return Grid.metric(west, south, east, north, cell_m=file.cell_m if self.cell_m is None else self.cell_m)

    def load(self) -> City:
        """The city in force, read once in a process. Raises SettingsError with every problem of its files."""
        return _load_city(self)

    def _file(self) -> CityFile:
        """What the folder says of the city as a whole; Shanghai's where there is no folder."""
        return _city_file(city_folder(self.folder or DEFAULT_CITY))


@lru_cache(maxsize=8)
def _city_file(folder: Path) -> CityFile:
    return load_city_file(folder)


@lru_cache(maxsize=2)
def _load_city(settings: CitySettings) -> City:
    grid = settings.grid()
    zone = settings.zone_info.key
    if settings.is_bare:
        city = City.bare(grid, zone)
    else:
        city = City.load(settings.folder or DEFAULT_CITY, grid=grid, zone=zone)
    return city if settings.devices is None else replace(city, devices_path=settings.devices)


class MetricsSettings(BaseModel):
    """Where Prometheus can fetch the metrics."""

    model_config = SECTION_RULES

    host: str = DEFAULT_HOST
    """Address to listen on. Loopback unless you mean to show the metrics to the network."""
    port: Annotated[int, Field(ge=0, le=65535)] = DEFAULT_PORT
    """Port to listen on; 0 takes any free one."""


class DetectorChoice(BaseModel):
    """One detector to run, with its own settings (checked by the detector, not here)."""

    model_config = SECTION_RULES

    name: Annotated[str, Field(min_length=1)]
    """Which detector: a built-in one (waterlogging, traffic_accident, fire_smoke, gas_leak, crowd_risk,
    manhole_displaced, threshold) or an installed one."""
    alias: Annotated[str | None, Field(alias="as")] = None
    """Its name in alerts, where it shall be another one; needed to use one detector twice."""
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    """Fields of the detector's own settings; what is left out keeps its default."""


class TongguanConfig(BaseModel):
    """Everything a process of Tongguan is told at start."""

    model_config = SECTION_RULES

    data_dir: Path = Path(".tongguan")
    """Where the local stack keeps its data."""
    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    clickhouse: ClickHouseSettings = Field(default_factory=ClickHouseSettings)
    city: CitySettings = Field(default_factory=CitySettings)
    topics: TopicsSettings = Field(default_factory=TopicsSettings)
    locate: LocateSettings = Field(default_factory=LocateSettings)
    join: JoinSettings = Field(default_factory=JoinSettings)
    dispatch: DispatchSettings = Field(default_factory=DispatchSettings)
    archive: ArchiveSettings = Field(default_factory=ArchiveSettings)
    detectors: tuple[DetectorChoice, ...] = (
        DetectorChoice(name="waterlogging"),
        DetectorChoice(name="traffic_accident"),
        DetectorChoice(name="fire_smoke"),
        DetectorChoice(name="gas_leak"),
        DetectorChoice(name="crowd_risk"),
        DetectorChoice(name="manhole_displaced"),
    )
    metrics: MetricsSettings = Field(default_factory=MetricsSettings)

    def build_detectors(self) -> tuple[Detector[Any], ...]:
        """The chosen detectors, ready to judge. Raises SettingsError with all problems."""
        return build_detectors([choice.model_dump(by_alias=True, exclude_none=True) for choice in self.detectors])

    def incident_types(self) -> IncidentTypes:
        """The built-in types of incidents, and those of the files that are named. Raises SettingsError."""
        return load_incident_types(*self.dispatch.types_files)

    def load_city(self) -> City:
        """The city with its places, offices, lists and calendar, read once in a process. Raises SettingsError."""
        return self.city.load()

    @property
    def topic_names(self) -> TopicNames:
        return TopicNames(self.topics.prefix)

    def topic_specs(self) -> tuple[TopicSpec, ...]:
        return topic_specs(self.topics)
