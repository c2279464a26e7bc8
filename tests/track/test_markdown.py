"""Names in Markdown that somebody else's page renders."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autokd.track.markdown import in_markdown


def test_markup_is_words():
    assert in_markdown("<script>alert(1)</script>") == "&lt;script>alert(1)&lt;/script>"
    assert in_markdown("[x](javascript:alert(1))") == "\\[x](javascript:alert(1))"
    assert in_markdown("a|b`c`\nd&e") == "a\\|b'c' d&amp;e"
    assert in_markdown("resnet8x0.5") == "resnet8x0.5"


@given(st.text())
def test_no_tag_opens_no_column_and_no_line_begins(text):
    made = in_markdown(text)
    assert "<" not in made and "`" not in made and "\n" not in made
    assert made.replace("\\|", "").count("|") == 0
