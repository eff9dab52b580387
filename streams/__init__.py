"""Where things move: raw Kafka batches in, observations, alerts and history out.

Pure cores (decoding, placing, coverage, windows, snapshots) are plain modules that import no Faust; the agents and
services beside them are thin and do the reading, writing and acknowledging.
"""

import schemas  # noqa: F401  before Arrow is loaded: see there
