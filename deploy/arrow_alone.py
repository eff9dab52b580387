"""Imported for its effect, before anything makes Arrow arrays: pyarrow does not look for pandas.

pyarrow imports pandas, where it is installed, at the first array that is made from a list, to know pandas' own arrays
from lists. Nothing here has any; but chDB, hence the local stack, brings pandas along, and a worker spent 1 of the 3
seconds of its start on loading it. pyarrow looks once: it is let look while there is none to be found. Whoever asks for
pandas later (`to_pandas`, or an array without a type) still gets it.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

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
