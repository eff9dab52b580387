"""Random numbers by name: independent of each other, and the same whoever else draws."""

from __future__ import annotations

import numpy as np

from deploy.simulation.chance import exponentials, generator, keys_of, normals, uniforms


def test_more_things_leave_the_keys_of_the_first_ones_as_they_are() -> None:
    assert np.array_equal(keys_of(1, "device", count=10), keys_of(1, "device", count=1000)[:10])


def test_another_seed_another_name_and_another_lane_give_other_numbers() -> None:
    zero = np.zeros(50, dtype=np.int64)
    base = uniforms(keys_of(1, "device", count=50), zero)
    others = (
        uniforms(keys_of(2, "device", count=50), zero),
        uniforms(keys_of(1, "camera", count=50), zero),
        uniforms(keys_of(1, "device", count=50), zero, 1),
        uniforms(keys_of(1, "device", count=50), zero + 1),
    )
    for other in others:
        assert not np.intersect1d(base, other).size


def test_names_are_not_run_together() -> None:
    assert generator(1, "a", "bc").random() != generator(1, "ab", "c").random()


def test_numbers_have_the_distribution_they_claim() -> None:
    keys, counters = keys_of(7, "x", count=200), np.arange(500, dtype=np.int64)
    every_key, every_counter = np.repeat(keys, 500), np.tile(counters, 200)
    uniform, normal = uniforms(every_key, every_counter), normals(every_key, every_counter)
    # 100,000 numbers: a mean is within five standard errors but once in two million seeds, and the seed is fixed
    assert abs(uniform.mean() - 0.5) < 5 * np.sqrt(1 / 12 / 1e5)
    assert uniform.min() >= 0.0 and uniform.max() < 1.0
    assert abs(normal.mean()) < 5 / np.sqrt(1e5) and abs(normal.std() - 1) < 0.02
    assert abs(exponentials(every_key, every_counter).mean() - 1) < 0.02
    counts = np.histogram(uniform, 100, (0, 1))[0]
    assert ((counts - 1000) ** 2 / 1000).sum() < 170  # chi-square of 99 degrees: 1 in 100,000


def test_neighbouring_counters_are_not_alike() -> None:
    numbers = uniforms(np.repeat(keys_of(7, "y", count=1), 20_000), np.arange(20_000, dtype=np.int64))
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.04
