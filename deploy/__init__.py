"""How Tongguan runs: the `tongguan` command, its configuration, the worker and the local stack."""

import schemas  # noqa: F401  before Arrow is loaded: see there
