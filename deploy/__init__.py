"""How Tongguan runs: the `tongguan` command, its configuration, the worker and the local stack."""
