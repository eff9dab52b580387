"""The chain of hashes over an incident's history: a record that was changed, dropped or slipped in later is found.

Each change carries the hash of the one before it. A hash is the SHA-256, in hex, of the record as canonical JSON: keys
sorted, no blanks, UTF-8 unescaped, its own field `hash` empty. It is taken over the fields that the record has, so a
chain stays valid when later versions add fields.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from schemas.incident import IncidentChange

NO_HASH: Final = ""
"""`previous_hash` of the first record, and `hash` while it is taken."""

_canonical = msgspec.json.Encoder(order="sorted")
_fields = msgspec.json.Decoder(dict[str, Any])


def sealed(change: IncidentChange) -> IncidentChange:
    """The change with its own hash; it must already carry the hash of the one before."""
    bare = change if change.hash == NO_HASH else msgspec.structs.replace(change, hash=NO_HASH)
    return msgspec.structs.replace(bare, hash=hashlib.sha256(_canonical.encode(bare)).hexdigest())


def hash_of(fields: Mapping[str, Any]) -> str:
    """The hash that a record with these fields must carry."""
    return hashlib.sha256(_canonical.encode({**fields, "hash": NO_HASH})).hexdigest()


def verify_chain(changes: Iterable[IncidentChange]) -> list[str]:
    """What is wrong with the history of one incident, given from its first record on; empty when it is intact.

    Records dropped from the end leave a chain that is intact as far as it goes: compare its length with another copy.
    """
    return _problems(msgspec.to_builtins(change) for change in changes)


def verify_payloads(payloads: Iterable[bytes]) -> list[str]:
    """As `verify_chain`, for the JSON of the records as it was stored; also of versions with other fields."""
    return _problems(map(_read, payloads))


def _read(payload: bytes) -> dict[str, Any] | None:
    try:
        return _fields.decode(payload)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def _problems(records: Iterable[Mapping[str, Any] | None]) -> list[str]:
    problems: list[str] = []
    incident: Any = None
    before: Any = NO_HASH
    for revision, fields in enumerate(records):
        if fields is None:
            problems.append(f"record {revision}: not a JSON object")
            before = None
            continue
        incident = fields.get("incident_id") if incident is None else incident
        where = f"{incident} revision {fields.get('revision')}"
        if fields.get("incident_id") != incident:
            problems.append(f"{where}: belongs to another incident, {fields.get('incident_id')}")
        if fields.get("revision") != revision:
            problems.append(f"{where}: expected revision {revision}; a record is missing, repeated or out of order")
        if fields.get("previous_hash") != before:
            problems.append(f"{where}: does not follow the record before it")
        if fields.get("hash") != hash_of(fields):
            problems.append(f"{where}: was changed after it was written")
        before = fields.get("hash")
    return problems
