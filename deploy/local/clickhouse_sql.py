"""What the local ClickHouse front must know about a statement: does it insert a data section, does it answer rows?

A ClickHouse server takes `INSERT ... FORMAT name` followed by the data in the same body. The embedded engine cuts such
bodies short when the data is binary (seen: an Arrow stream of 23 MB ended after 20 kB), so the data is handed over as
a file, and the statement must be split where the data begins. A few tokens are all that is looked at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

TOKEN = re.compile(
    rb"""(?:\s+|--[^\n]*|/\*.*?\*/)                      # blanks and comments
      | (?P<quoted>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.)*"|`(?:[^`\\]|\\.)*`)
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
FORMAT_AT_END = re.compile(r"\bFORMAT\s+(\w+)\s*;?\s*$", re.IGNORECASE)
ANSWERS_ROWS = frozenset(
    {b"SELECT", b"WITH", b"SHOW", b"DESC", b"DESCRIBE", b"EXISTS", b"EXPLAIN", b"CHECK", b"VALUES"}
)
DEFAULT_FORMAT = "TabSeparated"


@dataclass(frozen=True, slots=True)
class DataInsert:
    """`head` FROM INFILE ... `settings` FORMAT `format_name`, and where in the body the data begins."""

    head: bytes
    settings: bytes
    format_name: str
    data_from: int

    def from_file(self, path: str) -> str:
        """The statement that inserts the same data from a file. The path is ours: it needs no escaping."""
        head, settings = self.head.decode(), self.settings.decode()
        # Line by line, since the parts may end in a comment.
        return f"{head}\nFROM INFILE '{path}' COMPRESSION 'none'\n{settings}\nFORMAT {self.format_name}"


def data_insert(body: bytes) -> DataInsert | None:
    """The parts of an INSERT with a data section; None for every other statement, `INSERT ... VALUES` included."""
    position = depth = 0
    first = True
    settings_from: int | None = None
    while match := TOKEN.match(body, position):
        position = match.end()
        word = (match["word"] or b"").upper()
        if match["other"] in (b"(", b"["):
            depth += 1
        elif match["other"] in (b")", b"]"):
            depth -= 1
        elif word and first:
            first = False
            if word != b"INSERT":
                return None
        elif word and depth == 0:
            if word in (b"VALUES", b"SELECT", b"WITH", b"INFILE"):
                return None
            if word == b"SETTINGS" and settings_from is None:
                settings_from = match.start()
            elif word == b"FORMAT":
                return _at_format(body, settings_from, match)
        elif first and match["other"]:
            return None
    return None


def _at_format(body: bytes, settings_from: int | None, keyword: re.Match[bytes]) -> DataInsert | None:
    name = re.compile(rb"\s+(\w+)[ \t]*;?[ \t]*\r?\n?").match(body, keyword.end())
    if name is None or name[1].upper() == b"VALUES":
        return None
    head_to = keyword.start() if settings_from is None else settings_from
    settings = b"" if settings_from is None else body[settings_from : keyword.start()]
    return DataInsert(body[:head_to].strip(), settings.strip(), name[1].decode(), name.end())


def answers_rows(statement: str) -> bool:
    """Whether the statement has a result set (maybe an empty one), as a server tells it in X-ClickHouse-Format."""
    position = 0
    text = statement.encode()
    while match := TOKEN.match(text, position):
        position = match.end()
        if match["word"]:
            return match["word"].upper() in ANSWERS_ROWS
        if match["other"] and match["other"] != b"(":
            return False
    return False


def output_format(statement: str, default: str | None) -> str:
    """The format the answer will have: the statement's own FORMAT clause, else the request's, else the server's."""
    clause = FORMAT_AT_END.search(statement)
    return clause[1] if clause else default or DEFAULT_FORMAT
