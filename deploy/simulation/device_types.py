"""The kinds of device a city has: what each measures, how often, where it stands, and how its values arise.

A value is base + swing x curve of the hour + factor x quantity of the world at its street + noise, kept within what the
device can report. Names of metrics and units are those of schemas/kinds.yaml.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from deploy.simulation.fields import Quantity
from deploy.simulation.rhythms import Curve

Q = Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One metric of a device."""

    metric: str
    unit: str
    decimals: int = 0
    quantity: Quantity = Q.NOTHING
    factor: float = 1.0
    base: tuple[float, float] = (0.0, 0.0)  # from .. to, one value per device
    curve: Curve = Curve.FLAT
    swing: tuple[float, float] = (0.0, 0.0)
    noise: float = 0.0
    noise_share: float = 0.0  # of the value
    low: float = 0.0
    high: float = 1e9
    other_unit: tuple[str, float, int] | None = None  # (unit, factor, decimals) that some devices report in


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceType:
    """A model of device, and how many of all devices are of it (`share`, in parts of the sum of all)."""

    prefix: str
    name: str
    measures: tuple[Measure, ...]
    every_s: float
    share: float
    site: str | None = None  # the places it is put first ...
    per_site: int = 1  # ... so many at each
    main_roads: bool = False


DEVICE_TYPES: Final = (
    DeviceType(
        prefix="WL",
        name="radar_level",
        every_s=30,
        share=6,
        site="low",
        per_site=2,
        main_roads=True,
        measures=(
            Measure(
                metric="water_level_mm",
                unit="mm",
                quantity=Q.DEPTH_MM,
                noise=2.0,
                noise_share=0.01,
                other_unit=("cm", 0.1, 1),
            ),
        ),
    ),
    DeviceType(
        prefix="RG",
        name="rain_gauge",
        every_s=60,
        share=5,
        measures=(Measure(metric="rainfall_mm_h", unit="mm/h", decimals=1, quantity=Q.RAIN_MM_H, noise_share=0.05),),
    ),
    DeviceType(
        prefix="TS",
        name="loop_detector",
        every_s=30,
        share=22,
        site="junction",
        main_roads=True,
        measures=(
            Measure(
                metric="traffic_speed_kmh",
                unit="km/h",
                decimals=1,
                quantity=Q.SPEED_KMH,
                noise=1.2,
                noise_share=0.03,
                high=160,
                other_unit=("m/s", 1 / 3.6, 1),
            ),
            Measure(metric="traffic_flow", unit="1", quantity=Q.FLOW_VEH_MIN, noise_share=0.12, noise=1.0),
            Measure(metric="occupancy", unit="%", decimals=1, quantity=Q.OCCUPANCY_PERCENT, noise_share=0.1, high=100),
        ),
    ),
    DeviceType(
        prefix="QU",
        name="queue_radar",
        every_s=60,
        share=2,
        site="junction",
        main_roads=True,
        measures=(Measure(metric="queue_length_m", unit="m", quantity=Q.QUEUE_M, noise=3.0, noise_share=0.05),),
    ),
    DeviceType(
        prefix="SW",
        name="sewer_level",
        every_s=60,
        share=6,
        site="low",
        measures=(
            Measure(
                metric="sewer_level_mm",
                unit="mm",
                quantity=Q.PIPE_FILL,
                factor=1400,
                base=(120, 320),
                noise=8,
                other_unit=("cm", 0.1, 1),
            ),
        ),
    ),
    DeviceType(
        prefix="PM",
        name="pump",
        every_s=60,
        share=1,
        site="low",
        measures=(Measure(metric="pump_flow_m3h", unit="m3/h", quantity=Q.INLET_M3_S, factor=3_600, noise_share=0.02),),
    ),
    DeviceType(
        prefix="RV",
        name="river_gauge",
        every_s=120,
        share=1,
        measures=(
            Measure(metric="river_level_m", unit="m", decimals=2, quantity=Q.RIVER_M, noise=0.01, low=-5),
            Measure(metric="river_flow_m3s", unit="m3/s", decimals=1, quantity=Q.RIVER_M3_S, noise_share=0.02),
        ),
    ),
    DeviceType(
        prefix="WX",
        name="weather_station",
        every_s=60,
        share=3,
        measures=(
            Measure(
                metric="temperature_c",
                unit="℃",
                decimals=1,
                quantity=Q.TEMPERATURE_C,
                base=(-0.8, 0.8),
                noise=0.1,
                low=-40,
                other_unit=("degF", 1.8, 1),
            ),
            Measure(
                metric="humidity_percent", unit="%", quantity=Q.HUMIDITY_PERCENT, base=(-3, 3), noise=0.7, high=100
            ),
            Measure(metric="wind_speed_ms", unit="m/s", decimals=1, quantity=Q.WIND_MS, base=(-0.5, 0.8), noise=0.5),
            Measure(metric="wind_direction_deg", unit="deg", quantity=Q.WIND_DEG, noise=9, high=359),
            Measure(
                metric="air_pressure_hpa", unit="hPa", decimals=1, quantity=Q.PRESSURE_HPA, base=(-1, 1), noise=0.1
            ),
            Measure(metric="visibility_m", unit="m", quantity=Q.VISIBILITY_M, noise_share=0.03),
        ),
    ),
    DeviceType(
        prefix="AQ",
        name="air_station",
        every_s=60,
        share=7,
        measures=(
            Measure(
                metric="pm25_ugm3",
                unit="ug/m3",
                quantity=Q.SOOT_UGM3,
                base=(18, 42),
                curve=Curve.TRAFFIC,
                swing=(4, 16),
                noise=1.5,
                noise_share=0.03,
            ),
            Measure(
                metric="pm10_ugm3",
                unit="µg/m³",
                quantity=Q.SOOT_UGM3,
                factor=1.3,
                base=(30, 70),
                curve=Curve.TRAFFIC,
                swing=(8, 26),
                noise=2.5,
                noise_share=0.03,
            ),
            Measure(metric="no2_ugm3", unit="ug/m3", base=(14, 34), curve=Curve.TRAFFIC, swing=(10, 30), noise=1.5),
            Measure(
                metric="noise_db",
                unit="dB",
                decimals=1,
                quantity=Q.RAIN_MM_H,
                factor=0.06,
                base=(44, 56),
                curve=Curve.NOISE,
                swing=(6, 14),
                noise=1.6,
                high=130,
            ),
        ),
    ),
    DeviceType(
        prefix="GD",
        name="gas_detector",
        every_s=60,
        share=6,
        site="gas",
        measures=(
            Measure(
                metric="gas_lel_percent",
                unit="%LEL",
                decimals=1,
                quantity=Q.GAS_LEL,
                base=(0.0, 0.6),
                noise=0.15,
                noise_share=0.03,
                high=100,
            ),
            Measure(
                metric="gas_pressure_kpa",
                unit="kPa",
                decimals=2,
                quantity=Q.GAS_DROP_KPA,
                factor=-1.0,
                base=(2.3, 2.8),
                curve=Curve.POWER,
                swing=(-0.3, -0.1),
                noise=0.02,
            ),
        ),
    ),
    DeviceType(
        prefix="SD",
        name="smoke_detector",
        every_s=60,
        share=10,
        site="building",
        per_site=2,
        measures=(
            Measure(
                metric="smoke_obscuration",
                unit="%/m",
                decimals=1,
                quantity=Q.SMOKE_PERCENT_M,
                base=(0.0, 0.3),
                noise=0.08,
                noise_share=0.04,
                high=100,
            ),
            Measure(
                metric="heat_c",
                unit="degC",
                decimals=1,
                quantity=Q.HEAT_K,
                base=(24, 29),
                noise=0.2,
                noise_share=0.01,
                high=1100,
            ),
        ),
    ),
    DeviceType(
        prefix="MH",
        name="manhole_cover",
        every_s=120,
        share=7,
        site="manhole",
        measures=(
            Measure(metric="manhole_open", unit="bool", quantity=Q.COVER_OPEN, high=1),
            Measure(metric="tilt_deg", unit="deg", decimals=1, quantity=Q.COVER_TILT_DEG, base=(0.1, 1.5), noise=0.15),
        ),
    ),
    DeviceType(
        prefix="PC",
        name="pedestrian_counter",
        every_s=60,
        share=5,
        site="plaza",
        per_site=2,
        measures=(
            Measure(
                metric="pedestrian_count",
                unit="人",
                quantity=Q.CROWD,
                base=(3, 12),
                curve=Curve.PEOPLE,
                swing=(20, 90),
                noise=3,
                noise_share=0.06,
            ),
        ),
    ),
    DeviceType(
        prefix="PW",
        name="power_meter",
        every_s=60,
        share=7,
        measures=(
            Measure(
                metric="power_kw", unit="kW", decimals=1, base=(20, 120), curve=Curve.POWER, swing=(40, 260), noise=3
            ),
            Measure(
                metric="voltage_v", unit="V", decimals=1, base=(226, 233), curve=Curve.POWER, swing=(-6, -1), noise=0.6
            ),
            Measure(
                metric="current_a", unit="A", decimals=1, base=(30, 160), curve=Curve.POWER, swing=(60, 380), noise=4
            ),
            Measure(metric="leakage_ma", unit="mA", base=(8, 60), noise=2),
        ),
    ),
    DeviceType(
        prefix="WP",
        name="water_supply",
        every_s=60,
        share=4,
        measures=(
            Measure(
                metric="water_pressure_mpa",
                unit="MPa",
                decimals=3,
                base=(0.26, 0.34),
                curve=Curve.PEOPLE,
                swing=(-0.05, -0.02),
                noise=0.003,
            ),
        ),
    ),
    DeviceType(
        prefix="BN",
        name="litter_bin",
        every_s=600,
        share=4,
        measures=(
            Measure(metric="bin_fill_percent", unit="%", base=(0, 25), curve=Curve.FILLING, swing=(30, 90), high=100),
        ),
    ),
    DeviceType(
        prefix="PK",
        name="parking",
        every_s=120,
        share=3,
        measures=(
            Measure(metric="parking_free", unit="个", base=(60, 260), curve=Curve.PEOPLE, swing=(-150, -40), noise=2),
        ),
    ),
    DeviceType(
        prefix="LT",
        name="street_light",
        every_s=300,
        share=3,
        measures=(
            Measure(
                metric="illuminance_lx", unit="lx", base=(8, 25), curve=Curve.DAYLIGHT, swing=(20_000, 60_000), noise=3
            ),
        ),
    ),
)
