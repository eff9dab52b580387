"""From words to settings: what can be set is set, what cannot is told all at once, and a box fits its city."""

from __future__ import annotations

import pytest

from deploy.simulation.fitting import changed, fitted
from deploy.simulation.settings import PRESETS, SimulationSettings, preset
from deploy.simulation.simulation import Simulation
from schemas.errors import SettingsError
from tests.deploy.simulation.small import GRID
from topology.city import City
from topology.grid import Grid


def test_numbers_are_set_wherever_they_are() -> None:
    made = changed(preset("storm"), ["devices=77", "faults.late_rate=0.5", "storm.peak_mm_h = 12", "repeat_minutes=9"])
    assert (made.devices, made.faults.late_rate, made.storms[0].peak_mm_h, made.repeat_minutes) == (77, 0.5, 12.0, 9.0)


def test_all_that_cannot_be_set_is_told_at_once() -> None:
    with pytest.raises(SettingsError) as problem:
        changed(preset("quiet"), ["devices", "colour=3", "faults=1", "seed=one", "seed=1.5", "storms=2", "x.y=1"])
    assert len(problem.value.problems) == 7
    assert "faults.late_rate" in problem.value.problems[1] and "expected int, got 'one'" in problem.value.problems[3]


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("faults.late_rate=50", "from 0 to 1, not percent"),
        ("faults.stuck_share=0.999", "more than 1 together"),
        ("minutes=nan", "minutes=nan"),
        ("minutes=0", "above 0"),
        ("devices=0", "devices=0"),
        ("west=122", "must be below east"),
        ("storm.radius_m=0", "positive numbers"),
        ("people=-1", "must not be negative"),
    ],
)
def test_settings_that_make_no_city_are_refused(assignment: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        changed(preset("storm"), [assignment])


def test_a_box_inside_the_grid_stays() -> None:
    assert fitted(SimulationSettings(), GRID) == SimulationSettings()


@pytest.mark.parametrize(
    "grid",
    [
        Grid.metric(-71.2, 42.2, -70.9, 42.4),
        Grid.metric(116.0, 39.8, 116.02, 39.815),
        Grid.metric(-0.01, -0.01, 0.01, 0.01),
    ],
)
def test_elsewhere_the_box_moves_into_the_middle_of_the_grid_and_runs(grid: Grid) -> None:
    made = fitted(preset("storm").with_changes(devices=20, cameras=4, minutes=0.5), grid)
    simulated = Simulation(made, City.bare(grid, "UTC"))
    assert (simulated.streets.cell >= 0).all()
    assert sum(len(block) for block in simulated.blocks()) > 0


def test_presets_have_names_and_an_unknown_one_lists_them() -> None:
    assert set(PRESETS) == {"quiet", "storm", "rush", "mixed"}
    with pytest.raises(SettingsError, match="quiet, storm, rush, mixed"):
        preset("blizzard")


def test_a_description_names_every_setting() -> None:
    names = [name for name, _ in preset("mixed").described()]
    assert {"seed", "faults.late_rate", "storms", "people"} <= set(names) and len(names) == len(set(names))
