"""Coverage-guided fuzzing of the decoders, with atheris (libFuzzer for Python), which lives apart from our environment:

    python -m pip install --require-hashes --target ATHERIS -r tests/chaos/fuzz_requirements.txt
    PYTHONPATH=ATHERIS python -m tests.chaos.fuzz_decode CORPUS -max_total_time=300

Both decoders are guided: the reference, and the kernels of the JSON scan as plain Python with checked bounds (see
plain_words.py). Each input is one record; its first byte says of which source. Held: the reference answers with a row
or with a BadRecord whose words can be written; what the scan takes is bit for bit what the reference makes of it, and
it reads nothing beyond its arrays. What breaks this is left in the current folder as `crash-...`, and belongs into
a test beside the decoder's. An empty corpus is begun with records of hostile.py.

    python -m tests.chaos.fuzz_decode --plain 2000 --seed 1      as many records of hostile.py, without atheris
"""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

BEGIN_WITH: Final = 3_000
ZONE: Final = ZoneInfo("Asia/Shanghai")
GUIDED: Final = ("schemas", "streams.json_kernels", "streams.json_shapes", "streams.json_values", "streams.strings")
ALIKE: Final = 3
"""The same record so many times: those behind the first are read by its shape."""


def main() -> int:
    os.environ["NUMBA_DISABLE_JIT"] = "1"  # before numba is imported: kernels are what they were written as
    warnings.filterwarnings("ignore", "overflow encountered", RuntimeWarning)  # words wrap around, as meant
    if "--plain" in sys.argv:
        count, seed = (int(sys.argv[sys.argv.index(name) + 1]) for name in ("--plain", "--seed"))
        hold = _holder(contextlib.nullcontext())
        for value in _values(count, seed):
            hold(value)
        print(f"{count} records held")
        return 0
    atheris: Any = importlib.import_module("atheris")  # not in our environment, see above
    folders = [Path(given) for given in sys.argv[1:] if not given.startswith("-")]
    if folders and not any(folders[0].iterdir()):
        for number, value in enumerate(_values(BEGIN_WITH, seed=1)):
            (folders[0] / f"begin-{number}").write_bytes(value)
    hold = _holder(atheris.instrument_imports(include=list(GUIDED)))
    atheris.Setup(sys.argv, hold)
    atheris.Fuzz()
    return 0


def _holder(guided: Any) -> Callable[[bytes], None]:
    """What is called for each input. `guided` is entered while the decoders are imported."""
    from tests.chaos import plain_words

    with guided:
        plain_words.install()
        from schemas import decode as reference
        from schemas.errors import BadRecord
        from schemas.sources import Source
        from tests.support.fast_scan import scanned
        from tests.support.rows import bits

    def hold(data: bytes) -> None:
        if not data:
            return
        source, payload = Source(data[0] % len(Source)), data[1:]
        said = None
        try:
            said = reference.decode(source, payload, ZONE)
        except BadRecord as refused:
            if not refused.path.startswith("$") or not refused.detail.encode():
                raise AssertionError(f"{refused!r} does not say what is wrong with {payload!r}") from None
        plain_words.forget()
        row, *again = scanned(source, [payload] * ALIKE)
        assert all((row is None) == (other is None) for other in again), f"taken, and not taken: {payload!r}"
        if row is not None:
            assert all(bits(other) == bits(row) for other in again if other is not None), (
                f"one and another: {payload!r}"
            )
            assert said is not None, f"the scan takes what the reference refuses: {payload!r}"
            assert bits(row) == bits(said), f"the scan makes {row} of {payload!r}, the reference {said}"

    return hold


def _values(count: int, seed: int) -> list[bytes]:
    from schemas.sources import Source
    from tests.chaos.hostile import Fuzzer

    chance = random.Random(seed)
    fuzzer = Fuzzer(chance)
    found: list[bytes] = []
    while len(found) < count:
        source = chance.choice(list(Source))
        value = fuzzer.record(source)
        if value is not None and len(value) < 4_096:
            found.append(bytes([source]) + value)
    return found


if __name__ == "__main__":
    sys.exit(main())
