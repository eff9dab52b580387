"""Files of the form of METR-LA and the Los Angeles tickets, made up: no clear licence lets the originals ship."""

from __future__ import annotations

import gzip
from pathlib import Path

SENSORS = {"773869": (34.15497, -118.31829), "767541": (34.11621, -118.23799), "717447": (34.07248, -118.26772)}
LA_HEADER = (
    "srnumber,createddate,updateddate,actiontaken,owner,requesttype,status,requestsource,assignto,servicedate,closeddate,"
    "addressverified,approximateaddress,address,zipcode,latitude,longitude,apc,cd,nc,ncname,policeprecinct"
)


def write(path: Path, text: str) -> Path:
    """The text, packed where the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def metr_la(folder: Path) -> Path:
    """12 steps of 5 minutes for three sensors; one speed per sensor, one hour's jump at the second."""
    lines = ["timestamp," + ",".join(SENSORS)]
    for step in range(12):
        lines.append(f"2012-03-01 00:{step * 5:02}:00,60.0,{55.5 if step < 6 else 12.25},67.0")
    write(folder / "speed_made_up.csv.gz", "\n".join(lines) + "\n")
    table = ["index,sensor_id,latitude,longitude"]
    table += [f"{number},{name},{lat},{lon}" for number, (name, (lat, lon)) in enumerate(SENSORS.items())]
    write(folder / "sensor_locations.csv", "\n".join(table) + "\n")
    return folder


def tickets_la(folder: Path) -> Path:
    """Four tickets: placed, without a position, of an unknown type, and out of order."""
    rows = [
        "1-1,2017-12-27 13:36:22,,SR Created,BOS,Bulky Items,Open,Call,NC,2018-01-03 00:00:00,,Y,N,"
        '"1 N MAIN ST, 90012",90012,34.05,-118.24,,1,,DOWNTOWN NC,CENTRAL',
        "1-2,2017-12-27 13:40:00,,SR Created,BSL,Single Streetlight Issue,Open,Mobile App,NC,,,Y,,"
        '"2 S BROADWAY, 90012",90012,,,,1,,DOWNTOWN NC,CENTRAL',
        "1-3,2017-12-27 13:39:00,,SR Created,LASAN,Something New,Open,Smoke Signal,NC,,,N,,,90012,34.06,-118.25,,1,,,",
        "1-4,2017-12-27 23:59:59,,SR Created,BOS,Feedback,Open,Email,NC,,,Y,,,90012,34.07,-118.26,,1,,,",
    ]
    write(folder / "myla311_made_up.csv.gz", "\n".join([LA_HEADER, *rows]) + "\n")
    return folder
