"""Readings: each device's measurements of one step of the world, as rows."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from deploy.simulation.chance import Floats, Ints, exponentials, keys_of, normals, uniforms
from deploy.simulation.device_types import Measure
from deploy.simulation.fields import Fields
from deploy.simulation.fleet import Devices, Fault, Lane, place_text
from deploy.simulation.rhythms import curves_at, local_hour
from deploy.simulation.rows import ABSENT, NO_BLOB, Pieces, Rows, TimeForm, empty_rows
from deploy.simulation.settings import SimulationSettings
from schemas.sources import Source

LEAST_DELAY_MS: Final = 150
SPIKES_SHARE: Final = 0.08  # of a spiking device's readings
DRIFT_SHARE_PER_H: Final = 0.6
"""A drifting device's error grows by up to so much of its usual noise and range in an hour; see `_Channels.drift`."""


class _Channels:
    """Every metric of every device, as columns; those of one device lie beside each other."""

    def __init__(self, devices: Devices, pieces: Pieces) -> None:
        measures = [(d, m) for d, t in enumerate(devices.type_of.tolist()) for m in devices.types[t].measures]
        self.device: npt.NDArray[np.int32] = np.array([d for d, _ in measures], dtype=np.int32)
        self.first: Ints = np.searchsorted(self.device, np.arange(devices.count + 1))
        nth = np.arange(len(measures)) - self.first[self.device]
        # metrics of one device differ in noise: the counters below hold the sample, the key the metric
        own = devices.keys[self.device]
        self.keys = own ^ keys_of(0, "measure", count=16)[nth]
        zero = np.zeros(len(measures), dtype=np.int64)
        base, swing = uniforms(self.keys, zero, Lane.BASE), uniforms(self.keys, zero, Lane.BASE + 1)
        self.base: Floats = _between([m.base for _, m in measures], base)
        self.swing: Floats = _between([m.swing for _, m in measures], swing)
        self.quantity: npt.NDArray[np.int64] = np.array([int(m.quantity) for _, m in measures])
        self.curve: npt.NDArray[np.int64] = np.array([int(m.curve) for _, m in measures])
        self.factor: Floats = np.array([m.factor for _, m in measures])
        self.noise: Floats = np.array([m.noise for _, m in measures])
        self.noise_share: Floats = np.array([m.noise_share for _, m in measures])
        self.low: Floats = np.array([m.low for _, m in measures])
        self.high: Floats = np.array([m.high for _, m in measures])
        self.drift: Floats = 40.0 * self.noise + 0.3 * np.abs(self.base) + 0.3 * np.abs(self.swing)
        self.who: npt.NDArray[np.int32] = np.array(
            [pieces.add(f'{{"device_id":"{devices.ids[d]}",') for d, _ in measures], dtype=np.int32
        )
        self.what: npt.NDArray[np.int32] = np.array(
            [pieces.add(f'"metric":"{m.metric}","value":') for _, m in measures], dtype=np.int32
        )
        units = [_written(m, other=devices.fault[d] == Fault.OTHER_UNIT) for d, m in measures]
        self.middle: npt.NDArray[np.int32] = np.array(
            [pieces.add(f',"unit":"{unit}","ts":') for unit, _, _ in units], dtype=np.int32
        )
        self.shown: Floats = np.array([factor for _, factor, _ in units])
        self.decimals: npt.NDArray[np.int8] = np.array([decimals for _, _, decimals in units], dtype=np.int8)
        where = [
            pieces.add(
                place_text(float(devices.lon[d]), float(devices.lat[d]), devices.placements[d])
                + (f',"device_type":"{devices.types[devices.type_of[d]].name}"' if devices.says_type[d] else "")
                + "}"
            )
            for d in range(devices.count)
        ]
        self.where: npt.NDArray[np.int32] = np.array(where, dtype=np.int32)[self.device]
        self.stuck_at: Floats = np.full(len(measures), np.nan)


class Readings:
    """Makes the readings of step after step."""

    def __init__(self, settings: SimulationSettings, devices: Devices, pieces: Pieces) -> None:
        self._settings = settings
        self._devices = devices
        self._channels = _Channels(devices, pieces)
        self.spikes = 0
        self.kept_silent = 0

    def step(self, from_ms: int, to_ms: int, fields: Fields) -> Rows:
        """Rows of all measurements taken in [from_ms, to_ms), in the order of channels and samples."""
        devices, channels, start_ms = self._devices, self._channels, self._settings.start_ms
        every, phase = devices.every_ms, devices.phase_ms
        first = -((start_ms + phase - from_ms) // every)
        count = np.maximum(-((start_ms + phase - to_ms) // every) - first, 0)
        per_channel = count[channels.device]
        if not per_channel.any():
            return empty_rows()
        channel = np.repeat(np.arange(len(per_channel)), per_channel)
        behind = np.cumsum(per_channel) - per_channel
        device = channels.device[channel].astype(np.int64)
        sample = np.arange(len(channel)) - behind[channel] + first[device]
        true_ms = start_ms + phase[device] + sample * every[device]
        fault = np.where(true_ms >= devices.fault_from_ms[device], devices.fault[device], np.int8(Fault.NONE))
        silent = (fault == Fault.SILENT) & (true_ms < devices.fault_to_ms[device])
        if silent.any():
            self.kept_silent += int(silent.sum())
            keep = ~silent
            channel, device, sample, true_ms, fault = (a[keep] for a in (channel, device, sample, true_ms, fault))
        value = self._values(channel, device, sample, true_ms, fault, fields, local_hour(from_ms))
        return self._rows(channel, device, sample, true_ms, value)

    def _values(
        self, channel: Ints, device: Ints, sample: Ints, true_ms: Ints, fault: npt.NDArray[np.int8], fields: Fields,
        hour: float,
    ) -> Floats:  # fmt: skip
        c, devices = self._channels, self._devices
        curve = curves_at(hour)[c.curve[channel]]
        real = fields.data[c.quantity[channel], devices.node[device]]
        value = c.base[channel] + c.swing[channel] * curve + c.factor[channel] * real
        noise = normals(c.keys[channel], sample, Lane.NOISE)
        value = value + noise * (c.noise[channel] + c.noise_share[channel] * np.abs(value))
        value = np.clip(value, c.low[channel], c.high[channel])
        faulty = np.flatnonzero(fault)
        if len(faulty):
            self._spoil(value, channel, device, sample, true_ms, fault, faulty)
        return value

    def _spoil(
        self, value: Floats, channel: Ints, device: Ints, sample: Ints, true_ms: Ints, fault: npt.NDArray[np.int8],
        faulty: Ints,
    ) -> None:  # fmt: skip
        """Change the values of devices that are stuck, drift or spike."""
        c, devices = self._channels, self._devices
        for row in faulty[fault[faulty] == Fault.STUCK].tolist():
            if np.isnan(c.stuck_at[channel[row]]):
                c.stuck_at[channel[row]] = value[row]
            value[row] = c.stuck_at[channel[row]]
        rows = faulty[fault[faulty] == Fault.DRIFTING]
        hours = (true_ms[rows] - devices.fault_from_ms[device[rows]]) / 3_600_000
        direction = np.where(devices.fault_size[device[rows]] < 0.5, -1.0, 1.0)
        value[rows] += direction * hours * DRIFT_SHARE_PER_H * c.drift[channel[rows]]
        np.clip(value, c.low[channel], c.high[channel], out=value)
        rows = faulty[fault[faulty] == Fault.SPIKING]
        chance = uniforms(c.keys[channel[rows]], sample[rows], Lane.SPIKE)
        hit = rows[chance < SPIKES_SHARE]
        self.spikes += len(hit)
        value[hit] = np.where(chance[chance < SPIKES_SHARE] < SPIKES_SHARE / 2, 99_999.0, -9_999.0)

    def _rows(self, channel: Ints, device: Ints, sample: Ints, true_ms: Ints, value: Floats) -> Rows:
        c, devices, faults = self._channels, self._devices, self._settings.faults
        decimals = c.decimals[channel]
        # the parts of one measurement travel together: one delay for all metrics of a device's sample
        delay = LEAST_DELAY_MS + faults.jitter_ms * exponentials(devices.keys[device], sample, Lane.DELAY)
        delay_ms = np.minimum(delay, faults.most_jitter_ms).astype(np.int64)
        skewed = true_ms >= devices.fault_from_ms[device]
        event_ms = true_ms + np.where(skewed, devices.skew_ms[device], 0)
        time_form = devices.time_form[device]
        event_ms = np.where(time_form == TimeForm.LOCAL, event_ms // 1000 * 1000, event_ms)
        n = len(channel)
        return Rows(
            source=np.full(n, int(Source.READINGS), dtype=np.int8), entity=device.astype(np.int32),
            fate=c.keys[channel] + sample.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15),
            event_ms=event_ms, send_ms=true_ms + delay_ms, who=c.who[channel], what=c.what[channel],
            middle=c.middle[channel], where=c.where[channel],
            number=np.rint(value * c.shown[channel] * 10.0**decimals).astype(np.int64), decimals=decimals,
            time_form=time_form, count=np.full(n, ABSENT, dtype=np.int64), track=np.full(n, ABSENT, dtype=np.int64),
            blob=np.full(n, NO_BLOB, dtype=np.int64),
        )  # fmt: skip


def _between(ranges: list[tuple[float, float]], share: Floats) -> Floats:
    low, high = np.array(ranges).T
    out: Floats = low + (high - low) * share
    return out


def _written(measure: Measure, *, other: bool) -> tuple[str, float, int]:
    """(unit, factor, decimals) that a device writes a metric in."""
    if other and measure.other_unit is not None:
        return measure.other_unit
    return measure.unit, 1.0, measure.decimals
