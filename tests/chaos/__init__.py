"""The promises of exactness under faults: each is one module, `python -m tests.chaos` runs them (see README.md)."""
