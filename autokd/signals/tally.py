"""How many of the teacher's answers a trial was given from kept files, and how many were computed for it."""

from __future__ import annotations

__all__ = ["Tally"]


class Tally:
    """hits: answers read from files that this trial computed no part of. misses: all others, whether they are kept or not.

    Every answer that a loss reads counts once. Of a view that was computed on the trial's own question all that it reads
    counts as computed: it reads each answer of a view once or not at all.
    """

    def __init__(self) -> None:
        self.hits = self.misses = 0
        self._own: set[tuple[int, bool]] = set()

    def asked(self, answers: int) -> None:
        """The teacher itself gave so many answers."""
        self.misses += answers

    def computed(self, view: int, augmented: bool) -> None:
        """This view was not kept yet, and is now."""
        self._own.add((view, augmented))

    def read(self, answers: int, view: int, augmented: bool) -> None:
        """So many answers were read from the file of a view."""
        if (view, augmented) in self._own:
            self.misses += answers
        else:
            self.hits += answers
