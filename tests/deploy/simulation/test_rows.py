"""Rows become the bytes that a JSON writer would make."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import settings as rules
from hypothesis import strategies as st

from deploy.simulation.rows import ABSENT, NO_BLOB, Pieces, Renderer, Rows, TimeForm

CHINA = timezone(timedelta(hours=8))

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "number": st.integers(-(10**15), 10**15),
            "decimals": st.integers(0, 6),
            "event_ms": st.integers(946_684_800_000, 4_102_444_799_999),
            "form": st.sampled_from(TimeForm),
            "count": st.integers(-1, 10**12),
            "track": st.integers(-1, 10**15),
            "blob": st.none() | st.binary(max_size=50),
            "name": st.text("ABC-09漕", min_size=1, max_size=40),
        }
    ),
    min_size=1,
    max_size=12,
)


@given(rows=ROWS)
@rules(deadline=None)
def test_a_row_is_its_pieces_with_its_numbers_between_them(rows: list[dict[str, Any]]) -> None:
    pieces, blobs = Pieces(), [row["blob"] for row in rows if row["blob"] is not None]
    made = Rows.blobs(*([[0] * len(rows)] * 6))
    made.who = np.array([pieces.add(f'{{"id":"{row["name"]}",') for row in rows], dtype=np.int32)
    made.what[:] = pieces.add('"value":')
    made.middle = np.array([pieces.add(',"ts":') for _ in rows], dtype=np.int32)
    made.where = np.array([pieces.add(f',"n":"{row["name"]}"}}') for row in rows], dtype=np.int32)
    made.what = np.full(len(rows), pieces.add('"value":'), dtype=np.int32)
    made.number = np.array([row["number"] for row in rows])
    made.decimals = np.array([row["decimals"] for row in rows], dtype=np.int8)
    made.event_ms = np.array([row["event_ms"] for row in rows])
    made.time_form = np.array([int(row["form"]) for row in rows], dtype=np.int8)
    made.count = np.array([row["count"] for row in rows])
    made.track = np.array([row["track"] for row in rows])
    numbers = iter(range(len(blobs)))
    made.blob = np.array([NO_BLOB if row["blob"] is None else next(numbers) for row in rows], dtype=np.int64)
    data, starts = Renderer(pieces).render(made, blobs)
    payloads = [data[a:b].tobytes() for a, b in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)]
    for row, payload in zip(rows, payloads, strict=True):
        if row["blob"] is not None:
            assert payload == row["blob"]
            continue
        fields = json.loads(payload)
        expected: dict[str, Any] = {"id": row["name"], "n": row["name"], "ts": written(row["event_ms"], row["form"])}
        expected |= {"count": row["count"]} if row["count"] != ABSENT else {}
        expected |= {"track_id": row["track"]} if row["track"] != ABSENT else {}
        value = fields.pop("value")
        assert fields == expected
        assert f"{value:.{row['decimals']}f}" == f"{row['number'] / 10 ** row['decimals']:.{row['decimals']}f}"


def written(at_ms: int, form: TimeForm) -> int | str:
    if form is TimeForm.EPOCH_MS:
        return at_ms
    local = datetime.fromtimestamp(at_ms // 1000, UTC).astimezone(CHINA)
    if form is TimeForm.LOCAL:
        return f"{local:%Y-%m-%d %H:%M:%S}"
    return f"{local:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}+08:00"


def test_the_same_text_is_one_piece() -> None:
    pieces = Pieces()
    assert [pieces.add("a"), pieces.add(b"b"), pieces.add("a")] == [0, 1, 0]
