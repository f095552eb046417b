"""What docs/serving.md shows is run: every block belongs to a test, and versions are those of the environments."""

import re

import pytest

from tests.serving.documented import ROOT, RUN, SECTIONS, TEXT, blocks_of

ROWS = re.findall(r"^\| \[(.+?)\]\(#(.+?)\) \|.*`(tests/.+?\.py)`", TEXT, re.MULTILINE)
"""Heading, anchor and test of every engine."""


def test_the_table_lists_all_engines() -> None:
    assert [heading for heading, _, _ in ROWS] == list(SECTIONS)
    for heading, anchor, _ in ROWS:
        assert anchor == heading.lower().replace(" ", "-")


@pytest.mark.parametrize(("heading", "test"), [(heading, test) for heading, _, test in ROWS])
def test_what_a_section_shows_is_run_by_its_test(heading: str, test: str) -> None:
    text = (ROOT / test).read_text(encoding="utf-8")
    shown = [language for language in RUN for _ in blocks_of(heading, language)]
    assert shown, "nothing of it is run"
    assert f'"{heading}"' in text, "its test does not take the section's blocks"
    assert len(shown) == len(set(shown)), "its test takes one block of a language"


def test_versions_are_those_that_the_makefile_installs() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"[\w\[\]-]+==[\w.]+", TEXT))
    assert "litserve==0.2.19" in named
    assert not {version for version in named if version not in makefile}
