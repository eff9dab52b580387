"""Entity ids as one run of bytes with offsets: putting late ones between those that are there."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streams.words import address_of, load_word, store_word
from topology.jit import kernel


@kernel
def merge_entities(
    offsets: npt.NDArray[np.int32],
    data: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.int64],
    added_offsets: npt.NDArray[np.int32],
    added: npt.NDArray[np.uint8],
    out_offsets: npt.NDArray[np.int32],
    out: npt.NDArray[np.uint8],
) -> None:
    """Copy ids to `out`, where `rows` (rising; empty in `data`) get the ids of `added`, one each in the same order.

    All three data arrays have words.PADDING spare bytes, as whole words are copied.
    """
    data_at = address_of(data)
    added_at = address_of(added)
    out_at = address_of(out)
    end = 0
    next_added = 0
    out_offsets[0] = 0
    for row in range(len(offsets) - 1):
        start = offsets[row]
        length = offsets[row + 1] - start
        if next_added < len(rows) and rows[next_added] == row:
            start = added_offsets[next_added]
            length = added_offsets[next_added + 1] - start
            next_added += 1
            for step in range(0, length, 8):
                store_word(out_at + end + step, load_word(added_at + start + step))
        else:
            for step in range(0, length, 8):
                store_word(out_at + end + step, load_word(data_at + start + step))
        end += length
        out_offsets[row + 1] = end
