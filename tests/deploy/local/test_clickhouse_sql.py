"""Where the data of an INSERT begins, and which statements have a result."""

from __future__ import annotations

import pytest

from deploy.local.clickhouse_sql import answers_rows, data_insert, output_format


@pytest.mark.parametrize(
    ("body", "rewritten", "data"),
    [
        (b"INSERT INTO t FORMAT Native\n\x01\x02", "INSERT INTO t FROM INFILE FORMAT Native", b"\x01\x02"),
        # Only one line end belongs to the statement: the next may be data.
        (b"INSERT INTO t FORMAT TSV\n\n", "INSERT INTO t FROM INFILE FORMAT TSV", b"\n"),
        (b"insert into d.t (a, b) format CSV\r\n1,2", "insert into d.t (a, b) FROM INFILE FORMAT CSV", b"1,2"),
        (
            b"INSERT INTO t (a) SETTINGS async_insert=1 FORMAT JSONEachRow {}",
            "INSERT INTO t (a) FROM INFILE SETTINGS async_insert=1 FORMAT JSONEachRow",
            b"{}",
        ),
        # Names that look like keywords are names while they are quoted or in parentheses.
        (
            b"INSERT INTO `FORMAT` (`a b`, format, \"values\") -- FORMAT x\n FORMAT Arrow\nFORMAT y",
            "INSERT INTO `FORMAT` (`a b`, format, \"values\") -- FORMAT x FROM INFILE FORMAT Arrow",
            b"FORMAT y",
        ),
    ],
)  # fmt: skip
def test_an_insert_is_split_where_its_data_begins(body: bytes, rewritten: str, data: bytes) -> None:
    found = data_insert(body)
    assert found is not None
    assert " ".join(found.from_file("/f").replace("'/f' COMPRESSION 'none'", "").split()) == rewritten
    assert body[found.data_from :] == data


def test_a_comment_at_the_end_of_the_head_does_not_swallow_the_rest() -> None:
    found = data_insert(b"INSERT INTO t (a) -- why\nFORMAT CSV\n1")
    assert found is not None
    assert found.from_file("/f").splitlines()[1] == "FROM INFILE '/f' COMPRESSION 'none'"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"SELECT 1 FORMAT Native",
        b"INSERT INTO t VALUES (1, ' FORMAT Native')",
        b"INSERT INTO t (a) FORMAT Values (1)",
        b"INSERT INTO t SELECT 1 FORMAT Native",
        b"INSERT INTO t WITH x AS (SELECT 1) SELECT * FROM x",
        b"INSERT INTO t FROM INFILE 'x' FORMAT CSV",
        b"\x00\xff not a statement",
        b"CREATE TABLE format (a Int8) ENGINE Memory",
    ],
)
def test_other_statements_are_left_as_they_are(body: bytes) -> None:
    assert data_insert(body) is None


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT 1", True),
        ("  -- why\n /* how */ (SELECT 1) UNION ALL (SELECT 2)", True),
        ("with 1 as x select x", True),
        ("SHOW TABLES", True),
        ("INSERT INTO t SELECT 1", False),
        ("CREATE TABLE selected (a Int8) ENGINE Memory", False),
        ("", False),
    ],
)
def test_statements_with_a_result_are_told_from_the_others(statement: str, expected: bool) -> None:
    assert answers_rows(statement) is expected


def test_the_statements_own_format_wins_over_the_requests() -> None:
    assert output_format("SELECT 1 FORMAT JSON;", "CSV") == "JSON"
    assert output_format("SELECT 'FORMAT x'", "CSV") == "CSV"
    assert output_format("SELECT 1", None) == "TabSeparated"
