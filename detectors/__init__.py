"""What is worth an alert: the detector contract, the features it is made of, and one file per built-in detector.

To add a detector: write its file, add one line here, write one table of cases in ``tests/detectors``. Importing a
detector registers nothing; the worker is handed instances that ``detectors.loading.build_detectors`` made from this
tuple, the installed entry points and the configuration.
"""

from typing import Any

from detectors.contract import Detector
from detectors.crowd_risk import CrowdRisk
from detectors.fire_smoke import FireSmoke
from detectors.gas_leak import GasLeak
from detectors.manhole_displaced import ManholeDisplaced
from detectors.threshold import Threshold
from detectors.traffic_accident import TrafficAccident
from detectors.waterlogging import Waterlogging

BUILT_IN: tuple[type[Detector[Any]], ...] = (
    CrowdRisk,
    FireSmoke,
    GasLeak,
    ManholeDisplaced,
    Threshold,
    TrafficAccident,
    Waterlogging,
)
