"""Which messages of a Faust app count: those that were fetched since its consumer has gone back to what is committed.

After each division of the group Faust goes back to the committed offsets, so whatever was fetched before comes again.
Some of it can still arrive, or be acknowledged:

- Faust's recovery looks whether the group is being divided anew before it goes back, but not behind that: the flow of
  an assignment that has been taken away in between begins, while we let go of what we have in hand;
- a message that was stuck in the conductor, or comes while the flow is stopped (at the end, too), is passed over by
  Faust's stream, which acknowledges it.

One message that is acknowledged before the one in front of it is enough to lose that one: `Consumer._new_offset` of
Faust commits past it when nothing is committed yet, or when it is the first behind the commit. So a message that was
fetched without a footing counts for nothing: it is neither handed on nor acknowledged.
"""

from __future__ import annotations

from typing import Final

STRAY: Final = -1
"""The generation of a message that does not count; no group has it."""


class Footing:
    """Of one consumer. Its events must be told in the order in which they happen."""

    def __init__(self) -> None:
        self.division = 0
        """How often partitions were taken away or given; say it to `went_back`."""
        self._given = False
        self._sure = False

    def revoked(self) -> None:
        self.division += 1
        self._given = self._sure = False

    def assigned(self) -> None:
        self.division += 1
        self._given, self._sure = True, False

    def stopped(self) -> None:
        """The flow is stopped: from now on Faust's stream passes messages over, and acknowledges them."""
        self._sure = False

    def went_back(self, since: int) -> bool:
        """The consumer stands where the commits say, if nothing was divided `since` it began to look for them; whether
        that is so. Then what was acknowledged until now is to be forgotten: it comes again."""
        self._sure = self._given and since == self.division
        return self._sure

    def mark(self, generation: int | None) -> int | None:
        """What to remember of a message that is fetched now, in this generation of the group."""
        return generation if self._sure else STRAY

    def counts(self, mark: int | None, generation: int) -> bool:
        """Whether a message with this mark may be acknowledged now, in this generation of the group."""
        return self._sure and mark == generation
