"""Imported for its effect, before anything makes Arrow arrays: pyarrow does not look for pandas, and takes its memory
from the system's allocator.

pyarrow imports pandas, where it is installed, at the first array that is made from a list, to know pandas' own arrays
from lists. Nothing here has any; but chDB, hence the local stack, brings pandas along, and a worker spent 1 of the 3
seconds of its start on loading it. pyarrow looks once: it is let look while there is none to be found. Whoever asks for
pandas later (`to_pandas`, or an array without a type) still gets it.

Arrow's own allocator (mimalloc) keeps what a burst has left: 73 to 144 MB in a soak that had 4 MB in use, up and down
for hours. From the system's, `give_back.py` returns it once a minute; it costs no time that could be measured.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Sequence
from types import ModuleType

os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # it is read when pyarrow is loaded

import pyarrow as pa


class _NoPandas(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is not looked for here", name=fullname)
        return None


def _look_once() -> None:
    if "pandas" in sys.modules:  # somebody wanted it
        return
    blind = _NoPandas()
    sys.meta_path.insert(0, blind)
    try:
        pa.array([], pa.null())
    finally:
        sys.meta_path.remove(blind)


_look_once()
