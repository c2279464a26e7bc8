from __future__ import annotations

import pytest

from autokd.report.columns import Column, fit, folded

COLUMNS = ("trial", folded("limits", 1), "state", Column("MACs", 2))
CELLS = (("t00000", "at most 300 k parameters", "running", "41.3 M"),)
WORDS = [6, 10, 7, 4]


def fitted(room: int):
    lengths = [[len(column), *(len(row[number]) for row in CELLS)] for number, column in enumerate(COLUMNS)]
    return fit(COLUMNS, lengths, WORDS, room)


@pytest.mark.parametrize(
    ("room", "widths", "dropped", "whole"),
    [
        (49, (6, 24, 7, 6), (), True),  # 6 + 24 + 7 + 6, and 2 between each two
        (48, (6, 23, 7, 6), (), True),  # prose is narrowed first
        (37, (6, 12, 7, 6), (), True),  # to 12 characters
        (36, (6, 19, 7), ("MACs",), True),  # then the highest number goes, and the prose has the room
        (29, (6, 12, 7), ("MACs",), True),
        (28, (6, 7), ("limits", "MACs"), True),
        (14, (6, 7), ("limits", "MACs"), False),  # what must be read is never narrowed
    ],
)
def test_prose_is_narrowed_then_columns_go_by_their_priority(room, widths, dropped, whole):
    found = fitted(room)
    assert (found.widths, found.dropped, found.whole) == (widths, dropped, whole)


def test_the_widest_is_narrowed_first_until_it_is_as_wide_as_the_next():
    found = fit((folded("a"), folded("b")), [[40], [20]], [5, 5], 42)
    assert found.widths == (20, 20)
    assert fit((folded("a"), folded("b")), [[40], [20]], [5, 5], 34).widths == (16, 16)


def test_a_heading_is_a_word_as_any_other():
    assert Column("MACs", 3) == "MACs" and f"{folded('limits')}" == "limits"
