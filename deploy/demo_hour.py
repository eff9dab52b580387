"""Makes the recorded hour of the demo: a storm over the south-west of Shanghai, and an accident elsewhere.

    python -m deploy.demo_hour             write deploy/demo_data anew
    python -m deploy.demo_hour --seed 7    another hour of the same kind

Nothing in it happened and nobody in it exists. Some 300 devices measure in their rhythm; two low spots are flooded, the
cameras there see it some minutes later, people call later still, one of them from a map in GCJ-02. Between them is what
real feeds have: faults, duplicates, records out of order, records that are late, and some that cannot be read at all.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

from deploy.demo_recording import (
    DEVICES,
    HOUR,
    HOUR_MS,
    LOW_ROAD,
    RING_ROAD,
    START_MS,
    UNDERPASS,
    Place,
    Record,
    write,
)
from schemas.datums import Datum
from schemas.sources import Source
from topology.datum import convert

SEED: Final = 20250717
CELL_LON, CELL_LAT = 0.00105, 0.0009  # about 100 m: a neighbour cell
STORM: Final = (121.40, 31.13, 121.49, 31.21)  # west, south, east, north
TOWN: Final = (121.36, 31.12, 121.60, 31.33)
SHANGHAI: Final = timezone(timedelta(hours=8))
NOT_IN_ORDER_MS: Final = 3_500  # less than the lateness that is waited for


@dataclass(frozen=True, slots=True)
class Sensor:
    """A device and what it measures in turn."""

    name: str
    kind: str
    metrics: tuple[tuple[str, str], ...]  # (metric, unit)
    lon: float
    lat: float
    every_s: int
    registered: bool  # its records carry no place, the register has it

    @property
    def in_storm(self) -> bool:
        west, south, east, north = STORM
        return west <= self.lon <= east and south <= self.lat <= north


LEVEL, SPEED = ("water_level_mm", "mm"), ("traffic_speed_kmh", "km/h")
FLEET: Final = (
    # prefix, device type, metrics, how many, every so many seconds
    ("WL", "radar_level", (LEVEL,), 75, 60),
    ("RG", "rain_gauge", (("rainfall_mm_h", "mm/h"),), 40, 60),
    ("TS", "loop_detector", (SPEED,), 57, 60),
    ("SW", "sewer_level", (("sewer_level_mm", "mm"),), 30, 60),
    ("WX", "weather_station", (("temperature_c", "℃"), ("humidity_percent", "%"), ("wind_speed_ms", "m/s")), 40, 60),
    ("AQ", "air_station", (("pm25_ugm3", "ug/m3"), ("noise_db", "dB")), 30, 60),
    ("GD", "gas_detector", (("gas_lel_percent", "%LEL"),), 20, 120),
)
FLOODED: Final = {
    # sensor: (place, cells east, cells north, depth in mm, minute it rises, is deepest, is dry)
    "WL-0101": (UNDERPASS, 0, 0, 460, 8, 24, 50),
    "WL-0102": (UNDERPASS, 1, 0, 300, 10, 26, 48),
    "WL-0103": (UNDERPASS, 0, 1, 190, 12, 27, 46),
    "WL-0201": (LOW_ROAD, 0, 0, 330, 14, 30, 51),
    "WL-0202": (LOW_ROAD, 1, 0, 215, 16, 31, 49),
}
SLOWED: Final = ("TS-0301", "TS-0302", "TS-0303")  # at the accident
ACCIDENT_MINUTES: Final = (12.2, 31.0)  # from the crash to the cleared lane
FAULTY, UNKNOWN_PLACE, CENTIMETRES = "WL-0040", "WL-0999", "WL-0041"
CAMERAS: Final = 40
CAMERA_AT: Final = {"CAM-0001": UNDERPASS, "CAM-0002": LOW_ROAD, "CAM-0003": RING_ROAD}

SURNAMES: Final = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗"
GIVEN: Final = ("建国", "秀英", "伟", "芳", "志强", "丽", "敏", "静", "磊", "海燕", "玉兰", "明", "晓东", "婷")
ROADS: Final = (
    "中山西路",
    "宜山路",
    "天钥桥路",
    "四川北路",
    "控江路",
    "延长路",
    "张杨路",
    "共和新路",
    "长寿路",
    "江苏路",
)
TALK: Final = (
    ("noise", "楼下夜宵摊音响声音很大，影响老人休息"),
    ("parking", "小区门口车辆乱停，消防车进不来"),
    ("street_light", "路灯连续三天不亮，夜里看不清路"),
    ("garbage", "垃圾桶满溢，几天没人清运"),
    ("property_management", "电梯经常停用，物业一直不修"),
    ("public_transport", "公交车等了四十分钟没有来"),
    ("consumer_complaint", "健身房关门，预付卡的钱退不了"),
    ("consultation", "咨询居住证续签需要哪些材料"),
    ("traffic_signal", "路口信号灯一直是红灯"),
    ("construction", "工地晚上施工，灰尘很大"),
)
SIGHTS: Final = (
    "illegal_parking",
    "congestion",
    "street_vending",
    "non_motor_on_highway",
    "crowding",
    "garbage_overflow",
)


class Hour:
    """Builds one hour; everything random comes from its own generator."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._records: list[Record] = []
        self._tickets = 0
        self.sensors = list(self._make_sensors())
        self.cameras = self._make_cameras()

    def build(self) -> list[Record]:
        """All records in the order of arrival."""
        for sensor in self.sensors:
            self._measure(sensor)
        self._watch()
        self._call()
        self._spoil()
        return sorted(self._records)

    def register(self) -> str:
        """The device register as CSV: sensors that send no place, and every camera."""
        rows = ["device_id,lon,lat,datum,device_type,name"]
        places = [(s.name, s.lon, s.lat, s.kind) for s in self.sensors if s.registered and s.name != UNKNOWN_PLACE]
        places += [(name, lon, lat, "camera") for name, (lon, lat) in self.cameras.items()]
        for number, (name, lon, lat, kind) in enumerate(places):
            datum = "GCJ-02" if number % 10 == 9 else "WGS-84"  # some were typed off a map
            if datum == "GCJ-02":
                lon, lat = gcj02(lon, lat)
            rows.append(f"{name},{lon:.6f},{lat:.6f},{datum},{kind},")
        return "\n".join(rows) + "\n"

    # --- who is there ----------------------------------------------------------------------------------------------

    def _make_sensors(self) -> Iterator[Sensor]:
        for prefix, kind, metrics, count, every_s in FLEET:
            for number in range(1, count + 1):
                lon, lat = self._somewhere(STORM if number <= count // 2 else TOWN)
                yield Sensor(f"{prefix}-{number:04d}", kind, metrics, lon, lat, every_s, number % 7 == 3)
        for name, (place, east, north, *_) in FLOODED.items():
            lon, lat = beside(place, east, north)
            yield Sensor(name, "radar_level", (LEVEL,), lon, lat, 30, place is UNDERPASS)
        for cells, name in enumerate(SLOWED):
            lon, lat = beside(RING_ROAD, cells - 1, 0)
            yield Sensor(name, "loop_detector", (SPEED,), lon, lat, 30, False)
        yield Sensor(UNKNOWN_PLACE, "radar_level", (LEVEL,), 0.0, 0.0, 300, True)

    def _make_cameras(self) -> dict[str, tuple[float, float]]:
        names = [f"CAM-{number:04d}" for number in range(1, CAMERAS + 1)]
        return {n: beside(CAMERA_AT[n], 0, 0) if n in CAMERA_AT else self._somewhere(TOWN) for n in names}

    def _somewhere(self, box: tuple[float, float, float, float]) -> tuple[float, float]:
        """A point in the box that is not at one of the story's places."""
        west, south, east, north = box
        while True:
            lon, lat = self._chance.uniform(west, east), self._chance.uniform(south, north)
            near = (abs(lon - place.lon) + abs(lat - place.lat) for place in (UNDERPASS, LOW_ROAD, RING_ROAD))
            if min(near) > 0.008:
                return round(lon, 5), round(lat, 5)

    # --- readings --------------------------------------------------------------------------------------------------

    def _measure(self, sensor: Sensor) -> None:
        chance = self._chance
        at_s, turn = chance.randrange(sensor.every_s), chance.randrange(len(sensor.metrics))
        usual = chance.random()
        while at_s < HOUR_MS // 1000:
            metric, unit = sensor.metrics[turn % len(sensor.metrics)]
            value = self._value(sensor, metric, at_s / 60, usual)
            fields: dict[str, Any] = {"device_id": sensor.name, "metric": metric, "value": value}
            fields |= {"ts": START_MS + at_s * 1000, "unit": unit}
            if sensor.name == CENTIMETRES:
                fields |= {"value": round(value / 10, 1), "unit": "cm"}
            elif sensor.name == FAULTY and chance.random() < 0.2:
                fields["value"] = chance.choice((99999, -40))
            if not sensor.registered:
                fields |= {"lon": sensor.lon, "lat": sensor.lat}
            if turn % 20 == 0:
                fields["device_type"] = sensor.kind
            delay_ms = chance.randrange(200, NOT_IN_ORDER_MS)
            if chance.random() < 0.0006:
                delay_ms = chance.randrange(60_000, 240_000)  # its radio was away
            self._add(Source.READINGS, sensor.name, fields, at_s * 1000 + delay_ms)
            if chance.random() < 0.001:
                self._add(Source.READINGS, sensor.name, fields, at_s * 1000 + delay_ms + 900)  # the gateway sent twice
            at_s += sensor.every_s
            turn += 1

    def _value(self, sensor: Sensor, metric: str, minute: float, usual: float) -> float:
        noise = self._chance.uniform(-1, 1)
        storm = wave(minute, 3, 16 + 6 * usual, 44) if sensor.in_storm else 0.25 * wave(minute, 20, 34, 50)
        match metric:
            case "water_level_mm" if sensor.name in FLOODED:
                _, _, _, depth, rises, deepest, dry = FLOODED[sensor.name]
                return max(0, round(depth * wave(minute, rises, deepest, dry) + 4 * noise))
            case "water_level_mm":
                return max(0, round((10 + 75 * usual) * storm + 2 * noise))
            case "rainfall_mm_h":
                return max(0.0, round((40 + 45 * usual) * storm + 2 * storm * noise, 1))
            case "traffic_speed_kmh" if sensor.name in SLOWED:
                begin, end = ACCIDENT_MINUTES
                blocked = wave(minute, begin, begin + 1.5, end + 3, holds_until=end)
                return round(54 - 47 * blocked + 3 * noise)
            case "traffic_speed_kmh":
                return round((32 + 22 * usual) * (1 - 0.25 * storm - 0.08 * minute / 60) + 3 * noise)
            case "sewer_level_mm":
                return round(300 + 400 * usual + 900 * storm + 10 * noise)
            case "temperature_c":
                return round(33.5 - 6 * storm + usual + 0.2 * noise, 1)
            case "humidity_percent":
                return round(64 + 30 * storm + 3 * usual + noise)
            case "wind_speed_ms":
                return max(0.0, round(3 + 9 * storm + usual + noise, 1))
            case "pm25_ugm3":
                return round(38 - 18 * storm + 10 * usual + 2 * noise)
            case "noise_db":
                return round(56 + 8 * usual + 4 * storm + 2 * noise)
            case _:
                return round(abs(noise), 1)

    # --- cameras ---------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        chance = self._chance
        for camera in self.cameras:
            minute = chance.uniform(0, 4)
            while minute < 60:
                sure = round(chance.uniform(0.35, 0.97), 2)
                self._see(camera, chance.choice(SIGHTS), minute, sure, count=chance.randrange(1, 12))
                minute += chance.uniform(2, 6)
        self._see("CAM-0017", "waterlogging", 21.3, 0.81)  # a reflection: no sensor and no caller agrees
        self._see("CAM-0023", "stopped_vehicle", 26.7, 0.74)  # a delivery
        for camera, minutes in (("CAM-0001", (18.4, 43.0)), ("CAM-0002", (33.2, 46.0))):
            minute = minutes[0]
            while minute < minutes[1]:
                self._see(camera, "waterlogging", minute, round(chance.uniform(0.72, 0.95), 2))
                minute += chance.uniform(0.8, 1.6)
        self._see("CAM-0003", "collision", ACCIDENT_MINUTES[0], 0.86, plate_hash="9f4c17d2")
        minute = ACCIDENT_MINUTES[0] + 0.6
        while minute < 28:
            self._see("CAM-0003", "stopped_vehicle", minute, round(chance.uniform(0.66, 0.93), 2), track_id=4711)
            minute += chance.uniform(1.0, 2.2)

    def _see(self, camera: str, event: str, minute: float, sure: float, **more: Any) -> None:
        at_ms = round(minute * 60_000)
        moment = datetime.fromtimestamp((START_MS + at_ms) // 1000, UTC).astimezone(SHANGHAI)
        fields = {"camera_id": camera, "event": event, "confidence": sure, "ts": moment.isoformat(), **more}
        if event in ("collision", "waterlogging"):
            fields["snapshot_url"] = f"https://media.example/{camera.lower()}/{at_ms}.jpg"
        self._add(Source.CAMERA_EVENTS, camera, fields, at_ms + self._chance.randrange(300, NOT_IN_ORDER_MS))

    # --- people ----------------------------------------------------------------------------------------------------

    def _call(self) -> None:
        chance = self._chance
        seconds = 4.0
        while seconds < 3_598:  # to the end: the newest ticket says how far the hour has come
            category, text = chance.choice(TALK)
            road, number = chance.choice(ROADS), chance.randrange(1, 900)
            place = self._somewhere(TOWN) if chance.random() < 0.6 else None
            self._tell(seconds / 60, category, text, f"{road} {number} 号", place)
            seconds += chance.uniform(15, 40)
        flooded, low, ring = (beside(place, 0, 0) for place in (UNDERPASS, LOW_ROAD, RING_ROAD))
        self._tell(15.1, "traffic_accident", "高架上两车追尾，占了两根车道", "内环高架黄兴路下匝道", ring)
        self._tell(17.6, "traffic_accident", "内环追尾，后面全堵死了，车牌沪A·D12345", "内环高架黄兴路", ring)
        self._tell(22.3, "traffic_accident", "事故车还停在路上，没有人处理", "内环高架近黄兴路", ring)
        self._tell(24.5, "flood", "下立交积水很深，车子开不过去", "漕溪北路下立交", flooded)
        self._tell(26.4, "flood", "龙吴路水漫到人行道了，请派人来抽水", "龙吴路近龙漕路", gcj02(*low), datum="GCJ-02")
        self._tell(27.2, "flood", "地道里积水没过轮胎，有车熄火，联系电话 13800005678", "漕溪北路", flooded)
        self._tell(
            28.9, "trapped_person", "车熄火困在下立交水里，车上有老人和小孩，请马上救援，电话 13800001234",
            "漕溪北路下立交", flooded, urgency="critical",
        )  # fmt: skip
        self._tell(33.8, "flood", "漕溪北路地道还是过不去，绕行也没有牌子", "漕溪北路", flooded, channel="app")
        self._tell(35.6, "flood", "路边店铺进水了", "龙吴路 1120 号 102 室", beside(LOW_ROAD, 1, 0), urgency="urgent")

    def _tell(
        self, minute: float, category: str, text: str, address: str, place: tuple[float, float] | None, **more: Any
    ) -> None:
        chance = self._chance
        at_ms = round(minute * 60_000)
        self._tickets += 1
        moment = datetime.fromtimestamp((START_MS + at_ms) // 1000, UTC).astimezone(SHANGHAI)
        fields: dict[str, Any] = {
            "ticket_id": f"12345-20250717-{self._tickets:04d}",
            "category": category,
            "text": text,
            "ts": f"{moment:%Y-%m-%d %H:%M:%S}",  # without zone, as the hotline's system writes it
            "address": address,
            "caller_name": chance.choice(SURNAMES) + chance.choice(GIVEN),
            "caller_phone": f"1380000{chance.randrange(10_000):04d}",
            "channel": "phone",
        }
        if place is not None:
            fields |= {"lon": round(place[0], 6), "lat": round(place[1], 6)}
        self._add(Source.TICKETS, category, fields | more, at_ms + chance.randrange(2_000, 20_000))

    # --- what real feeds have, too -----------------------------------------------------------------------------------

    def _spoil(self) -> None:
        at = START_MS + 600_000
        readings = (
            b'{"device_id":"WL-0007","metric":"water_level_mm","value":12.',  # cut off
            b'{"device_id":"WL-0008","metric":"water_level_mm","value":NaN,"ts":%d}' % at,
            b'{"device_id":"RG-0003","value":3.5,"ts":%d}' % at,
            b'{"device_id":"RG-0004","metric":"rainfall_mm_h","value":"12.5","ts":%d}' % at,
            b'{"device_id":"WX-0001","metric":"temperature_c","value":29.5,"ts":%d}' % (at // 1000),
            b'{"device_id":"WX-0002","metric":"temperature_c","value":29.5,"ts":"2099-01-01T00:00:00+08:00"}',
            b'{"device_id":"AQ-0002","metric":"pm25_ugm3","value":31,"ts":%d,"lon":116.3913,"lat":39.9075}' % at,
            b'{"device_id":"AQ-0004","metric":"pm25_ugm3","value":31,"ts":%d,"lon":31.2304,"lat":121.4737}' % at,
            b'{"device_id":"GD-0001","metric":"gas_lel_percent","value":0,"value":9,"ts":%d}' % at,
            b"",
        )
        for number, payload in enumerate(readings):
            self._put(Source.READINGS, f"spoilt-{number}", payload, 400_000 + 210_000 * number)
        percent = b'{"camera_id":"CAM-0009","event":"congestion","confidence":87,"ts":%d}' % at
        self._put(Source.CAMERA_EVENTS, "CAM-0009", percent, 1_000_000)
        self._put(Source.CAMERA_EVENTS, "CAM-0010", b'{"camera_id":"CAM-\xff\xfe","event":"fire"}', 1_500_000)
        silent = (
            '{"ticket_id":"12345-20250717-9001","category":"flood","caller_name":"王秀英","caller_phone":"13800009999"}'
        )
        self._put(Source.TICKETS, "flood", silent.encode(), 2_000_000)

    def _add(self, source: Source, key: str, fields: dict[str, Any], at_ms: int) -> None:
        payload = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
        self._put(source, key, payload, at_ms)

    def _put(self, source: Source, key: str, payload: bytes, at_ms: int) -> None:
        self._records.append(Record(at_ms, source, key.encode(), payload))


def wave(minute: float, rises: float, top: float, ends: float, *, holds_until: float | None = None) -> float:
    """0 before `rises`, smoothly up to 1 at `top`, and down again from `holds_until` (else `top`) to 0 at `ends`."""
    holds = top if holds_until is None else holds_until
    if minute <= top:
        share = (minute - rises) / (top - rises)
    else:
        share = (ends - minute) / (ends - holds)
    share = min(max(share, 0.0), 1.0)
    return share * share * (3 - 2 * share)


def beside(place: Place, east: int, north: int) -> tuple[float, float]:
    """The point so many cells from a place, WGS-84."""
    return round(place.lon + east * CELL_LON, 6), round(place.lat + north * CELL_LAT, 6)


def gcj02(lon: float, lat: float) -> tuple[float, float]:
    """A WGS-84 point as Chinese street maps have it: some 500 m away."""
    return convert(lon, lat, Datum.WGS84, Datum.GCJ02)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.demo_hour", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seed", type=int, default=SEED, help="another seed gives another hour; the tests expect this one"
    )
    hour = Hour(parser.parse_args().seed)
    records = hour.build()
    write(records)
    DEVICES.write_text(hour.register(), encoding="utf-8")
    print(f"{HOUR}: {len(records):,} records, {HOUR.stat().st_size:,} bytes; {DEVICES}")


if __name__ == "__main__":
    main()
