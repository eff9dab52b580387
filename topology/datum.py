"""Datum -> datum: WGS-84, CGCS2000, GCJ-02 and BD-09 coordinates, both ways, in degrees, longitude before latitude.

WGS-84 is the city's common datum; every source's coordinates are converted to it once.

**CGCS2000** is taken as WGS-84. The ellipsoids differ by 0.1 mm in the semi-minor axis. The frames differ by the
crust's motion since CGCS2000's epoch 2000.0, about 3 cm a year in eastern China: less than a metre, a hundredth of a
cell.

**GCJ-02** is the shifted datum Chinese maps must use; the shift is up to 700 m, in 9 of 10 cities 210 to 640 m. The
algorithm was never published. The polynomial and its constants are those of the program that became known with its
conversion for mobile maps (`wgtochina_lb`; the readable form is EvilTransform's, used by eviltransform, coordtransform
and gcoord alike). That program adds up to 1 m of pseudo-random noise to both shifts, which the usual readable form
leaves out. Recorded GCJ-02 coordinates contain its mean, `GCJ_MEAN_NOISE_M` = 0.5 m: on the 664 cities of gcoord's test
data the residual without it is 0.48 m east and 0.47 m north everywhere (up to 7.3e-6 degrees), with it at most 6.6e-7
degrees. (The program itself, with 0.5 m for the noise and its whole units of 1/1024 second, 2.7e-7 degrees, meets more
than half of them to the last printed digit; we do not round, so that the inverse is smooth.) What a library without the
term converted is half a metre off. Outside a rough box around China the shift is none, as in that program.

**BD-09** is Baidu's further shift of GCJ-02 by about 1 km; constants and form as in coordtransform and gcoord. It has
no box.

Both inverses have no closed form that is exact; they iterate until the forward conversion gives the input back
to `INVERSE_TOLERANCE_DEG`. (The closed form for BD-09 in common use is off by up to 1.6e-6 degrees.) NaN goes in and
comes out as NaN.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.datums import Datum
from topology.jit import kernel

FloatArray = npt.NDArray[np.float64]
DatumArray = npt.NDArray[np.uint8]

INVERSE_TOLERANCE_DEG: Final = 1e-11
"""About a micrometre: where iteration stops. Each step gains a factor of 50 or more, 6 are usual."""
GCJ_MEAN_NOISE_M: Final = 0.5
MAX_STEPS: Final = 30

# Krasovsky 1940, the ellipsoid that the GCJ-02 program computes on.
_KRASOVSKY_A_M: Final = 6_378_245.0
_KRASOVSKY_E2: Final = 0.00669342162296594323
# The program's centre of China, to which its polynomials refer.
_CENTRE_LON: Final = 105.0
_CENTRE_LAT: Final = 35.0
# Its box, in WGS-84.
_WEST: Final = 72.004
_EAST: Final = 137.8347
_SOUTH: Final = 0.8293
_NORTH: Final = 55.8271
# BD-09: offsets in degrees, amplitudes in degrees and radians, and the waves' frequency per degree.
_BD_LON: Final = 0.0065
_BD_LAT: Final = 0.006
_BD_RADIUS: Final = 0.00002
_BD_ANGLE: Final = 0.000003
_BD_WAVE: Final = math.pi * 3000.0 / 180.0

_GCJ02: Final = int(Datum.GCJ02)
_BD09: Final = int(Datum.BD09)
_NOT_GIVEN: Final = int(Datum.NOT_GIVEN)


def to_wgs84(
    lon: FloatArray, lat: FloatArray, datum: DatumArray, *, default: Datum = Datum.WGS84
) -> tuple[FloatArray, FloatArray]:
    """WGS-84 (lon, lat), each float64[n], of points whose datum codes are `datum` uint8[n] (`schemas.datums.Datum`).

    `default` is the datum of rows with code NOT_GIVEN: the source's declared one.
    """
    out_lon = np.empty(len(lon), dtype=np.float64)
    out_lat = np.empty(len(lon), dtype=np.float64)
    fill_wgs84(lon, lat, datum, int(default), out_lon, out_lat)
    return out_lon, out_lat


def from_wgs84(lon: FloatArray, lat: FloatArray, datum: Datum) -> tuple[FloatArray, FloatArray]:
    """(lon, lat), each float64[n], of WGS-84 points in `datum`."""
    out_lon = np.empty(len(lon), dtype=np.float64)
    out_lat = np.empty(len(lon), dtype=np.float64)
    _fill_from_wgs84(lon, lat, int(datum), out_lon, out_lat)
    return out_lon, out_lat


def convert(lon: float, lat: float, source: Datum, target: Datum) -> tuple[float, float]:
    """One point from any datum to any other; NOT_GIVEN counts as WGS-84."""
    if source == target:
        return lon, lat
    if source == Datum.BD09 and target == Datum.GCJ02:  # not by way of WGS-84, where GCJ-02's box would matter
        found = bd09_to_gcj02(float(lon), float(lat))
    elif source == Datum.GCJ02 and target == Datum.BD09:
        found = gcj02_to_bd09(float(lon), float(lat))
    else:
        wgs_lon, wgs_lat = point_to_wgs84(float(lon), float(lat), int(source))
        found = point_from_wgs84(wgs_lon, wgs_lat, int(target))
    return float(found[0]), float(found[1])


# --- kernels for one point, callable from other kernels
# -----------------------------------------------------------------


@kernel
def gcj02_shift(lon: float, lat: float) -> tuple[float, float]:
    """GCJ-02 minus WGS-84 at a WGS-84 point, in degrees, whether or not it is in China.

    All angles of a coordinate are multiples of two, so five sines and cosines give the program's eight.
    """
    x = lon - _CENTRE_LON
    y = lat - _CENTRE_LAT
    # x pi / 12 is the base angle: x pi / 3, x pi, 2 x pi and 6 x pi are 4, 12, 24 and 72 times it
    sin_x12 = math.sin(x * (math.pi / 12.0))
    sin_x3, sin_x, sin_2x, sin_6x = _multiples(sin_x12, math.cos(x * (math.pi / 12.0)))
    sin_y12 = math.sin(y * (math.pi / 12.0))
    sin_y3, sin_y, _, _ = _multiples(sin_y12, math.cos(y * (math.pi / 12.0)))
    root_x = math.sqrt(abs(x))
    waves = 20.0 * (sin_6x + sin_2x)
    north_m = -100.0 + 2.0 * x + 3.0 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * root_x
    north_m += (waves + 20.0 * sin_y + 40.0 * sin_y3 + 160.0 * sin_y12 + 320.0 * math.sin(y * (math.pi / 30.0))) * (
        2.0 / 3.0
    )
    east_m = 300.0 + x + 2.0 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * root_x
    east_m += (waves + 20.0 * sin_x + 40.0 * sin_x3 + 150.0 * sin_x12 + 300.0 * math.sin(x * (math.pi / 30.0))) * (
        2.0 / 3.0
    )
    # metres to degrees, by the radii of curvature in the prime vertical and in the meridian
    phi = lat * (math.pi / 180.0)
    sin_phi = math.sin(phi)
    w2 = 1.0 - _KRASOVSKY_E2 * sin_phi * sin_phi
    w = math.sqrt(w2)
    east_deg = (east_m + GCJ_MEAN_NOISE_M) * w / (_KRASOVSKY_A_M * math.cos(phi)) * (180.0 / math.pi)
    north_deg = (north_m + GCJ_MEAN_NOISE_M) * w2 * w / (_KRASOVSKY_A_M * (1.0 - _KRASOVSKY_E2)) * (180.0 / math.pi)
    return east_deg, north_deg


@kernel
def in_gcj02_box(lon: float, lat: float) -> bool:
    """Whether a WGS-84 point is in the rough box around China in which GCJ-02 is shifted; False for NaN."""
    return _WEST <= lon <= _EAST and _SOUTH <= lat <= _NORTH


@kernel
def wgs84_to_gcj02(lon: float, lat: float) -> tuple[float, float]:
    """GCJ-02 of a WGS-84 point; the same point outside the box."""
    if not in_gcj02_box(lon, lat):
        return lon, lat
    east, north = gcj02_shift(lon, lat)
    return lon + east, lat + north


@kernel
def gcj02_to_wgs84(lon: float, lat: float) -> tuple[float, float]:
    """WGS-84 of a GCJ-02 point: the point of the box that is shifted to it, or itself if there is none.

    Along the box's edge, which lies in the sea and abroad, both may be true; the point of the box is preferred.
    """
    # the shift is under 0.02 degrees: what is farther out cannot come from the box (NaN ends here too)
    if not (_WEST - 0.1 <= lon <= _EAST + 0.1 and _SOUTH - 0.1 <= lat <= _NORTH + 0.1):
        return lon, lat
    wgs_lon = lon
    wgs_lat = lat
    for _ in range(MAX_STEPS):
        east, north = gcj02_shift(wgs_lon, wgs_lat)
        error_lon = lon - east - wgs_lon
        error_lat = lat - north - wgs_lat
        wgs_lon += error_lon
        wgs_lat += error_lat
        if abs(error_lon) < INVERSE_TOLERANCE_DEG and abs(error_lat) < INVERSE_TOLERANCE_DEG:
            break
    # a point on the box's very edge comes back up to the tolerance beside it
    slack = 10.0 * INVERSE_TOLERANCE_DEG
    if _WEST - slack <= wgs_lon <= _EAST + slack and _SOUTH - slack <= wgs_lat <= _NORTH + slack:
        return wgs_lon, wgs_lat
    return lon, lat


@kernel
def gcj02_to_bd09(lon: float, lat: float) -> tuple[float, float]:
    """BD-09 of a GCJ-02 point: a wave added to its radius and angle, then a fixed offset."""
    radius = math.sqrt(lon * lon + lat * lat) + _BD_RADIUS * math.sin(lat * _BD_WAVE)
    angle = math.atan2(lat, lon) + _BD_ANGLE * math.cos(lon * _BD_WAVE)
    return radius * math.cos(angle) + _BD_LON, radius * math.sin(angle) + _BD_LAT


@kernel
def bd09_to_gcj02(lon: float, lat: float) -> tuple[float, float]:
    """GCJ-02 of a BD-09 point."""
    gcj_lon = lon - _BD_LON
    gcj_lat = lat - _BD_LAT
    for _ in range(MAX_STEPS):
        bd_lon, bd_lat = gcj02_to_bd09(gcj_lon, gcj_lat)
        error_lon = lon - bd_lon
        error_lat = lat - bd_lat
        gcj_lon += error_lon
        gcj_lat += error_lat
        # written so that NaN ends it
        if not (abs(error_lon) >= INVERSE_TOLERANCE_DEG or abs(error_lat) >= INVERSE_TOLERANCE_DEG):
            break
    return gcj_lon, gcj_lat


@kernel
def point_to_wgs84(lon: float, lat: float, datum: int) -> tuple[float, float]:
    """WGS-84 of a point in the datum of this code; unshifted datums and NOT_GIVEN come back as they are."""
    if datum == _GCJ02:
        return gcj02_to_wgs84(lon, lat)
    if datum == _BD09:
        gcj_lon, gcj_lat = bd09_to_gcj02(lon, lat)
        return gcj02_to_wgs84(gcj_lon, gcj_lat)
    return lon, lat


@kernel
def point_from_wgs84(lon: float, lat: float, datum: int) -> tuple[float, float]:
    """A WGS-84 point in the datum of this code."""
    if datum == _GCJ02:
        return wgs84_to_gcj02(lon, lat)
    if datum == _BD09:
        gcj_lon, gcj_lat = wgs84_to_gcj02(lon, lat)
        return gcj02_to_bd09(gcj_lon, gcj_lat)
    return lon, lat


# --- kernels for arrays
# -------------------------------------------------------------------------------------------------


@kernel
def fill_wgs84(
    lon: FloatArray, lat: FloatArray, datum: DatumArray, default: int, out_lon: FloatArray, out_lat: FloatArray
) -> None:
    """`point_to_wgs84` for arrays of one length; `default` stands for NOT_GIVEN.

    `out_lon` and `out_lat` may be `lon` and `lat` themselves.
    """
    for i in range(out_lon.shape[0]):
        code = datum[i]
        out_lon[i], out_lat[i] = point_to_wgs84(lon[i], lat[i], default if code == _NOT_GIVEN else code)


@kernel
def _fill_from_wgs84(lon: FloatArray, lat: FloatArray, datum: int, out_lon: FloatArray, out_lat: FloatArray) -> None:
    for i in range(out_lon.shape[0]):
        out_lon[i], out_lat[i] = point_from_wgs84(lon[i], lat[i], datum)


@kernel
def _multiples(sin_a: float, cos_a: float) -> tuple[float, float, float, float]:
    """The sines of 4, 12, 24 and 72 times an angle, by the formulas for doubling and trebling it."""
    sin_2 = 2.0 * sin_a * cos_a
    cos_2 = 1.0 - 2.0 * sin_a * sin_a
    sin_4 = 2.0 * sin_2 * cos_2
    cos_4 = 1.0 - 2.0 * sin_2 * sin_2
    sin_12 = sin_4 * (3.0 - 4.0 * sin_4 * sin_4)
    cos_12 = cos_4 * (4.0 * cos_4 * cos_4 - 3.0)
    sin_24 = 2.0 * sin_12 * cos_12
    sin_72 = sin_24 * (3.0 - 4.0 * sin_24 * sin_24)
    return sin_4, sin_12, sin_24, sin_72
