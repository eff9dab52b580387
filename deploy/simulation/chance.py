"""Random numbers by name: every concern has a stream of its own, every device and sample a number of its own.

Weather, terrain, incidents and callers each draw from a generator seeded with the run's seed and their name, so that
one never shifts another. Devices are many and come and go, so theirs are not drawn in turn at all: a number is a hash
of (key, counter, lane), the same whichever other devices there are (SplitMix64's finaliser, G. L. Steele et al., Fast
splittable pseudorandom number generators, OOPSLA 2014).
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
import numpy.typing as npt

from topology.jit import kernel

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]


def key_of(seed: int, *names: str | int) -> int:
    """A 64-bit key for what the names say under this seed."""
    text = "\x1f".join((str(seed), *map(str, names)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """The generator of a concern."""
    return np.random.Generator(np.random.PCG64(key_of(seed, *names)))


def keys_of(seed: int, *names: str | int, count: int) -> Keys:
    """One key for each of `count` numbered things; more things leave the keys of the first ones as they are."""
    out = np.empty(count, dtype=np.uint64)
    _fill_keys(np.uint64(key_of(seed, *names)), out)
    return out


def uniforms(keys: Keys, counters: Ints, lane: int = 0) -> Floats:
    """Numbers in [0, 1), one for each key and counter; lanes are independent of each other."""
    out = np.empty(len(keys), dtype=np.float64)
    _fill_uniforms(keys, counters, lane, out)
    return out


def normals(keys: Keys, counters: Ints, lane: int = 0) -> Floats:
    """Standard normal numbers (Box and Muller 1958), one for each key and counter."""
    out = np.empty(len(keys), dtype=np.float64)
    _fill_normals(keys, counters, lane, out)
    return out


def exponentials(keys: Keys, counters: Ints, lane: int = 0) -> Floats:
    """Exponential numbers of mean 1."""
    return -np.log1p(-uniforms(keys, counters, lane))


@kernel
def mixed(value: np.uint64) -> np.uint64:
    """SplitMix64's finaliser of a uint64."""
    z = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@kernel
def uniform_of(key: np.uint64, counter: int, lane: int) -> float:
    step = np.uint64(counter) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(lane) * np.uint64(0xD1B54A32D192ED03)
    bits = mixed(mixed(key ^ step) + step)
    return float(bits >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@kernel
def normal_of(key: np.uint64, counter: int, lane: int) -> float:
    radius = math.sqrt(-2.0 * math.log(1.0 - uniform_of(key, counter, 2 * lane)))
    return radius * math.cos(2.0 * math.pi * uniform_of(key, counter, 2 * lane + 1))


@kernel
def _fill_keys(base: np.uint64, out: Keys) -> None:
    for i in range(len(out)):
        out[i] = mixed(base + np.uint64(i + 1) * np.uint64(0x9E3779B97F4A7C15))


@kernel
def _fill_uniforms(keys: Keys, counters: Ints, lane: int, out: Floats) -> None:
    for i in range(len(out)):
        out[i] = uniform_of(keys[i], counters[i], lane)


@kernel
def _fill_normals(keys: Keys, counters: Ints, lane: int, out: Floats) -> None:
    for i in range(len(out)):
        out[i] = normal_of(keys[i], counters[i], lane + 1000)
