"""The code of docs/serving.md, by the engine that it is for: what is written there is what the tests run."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")

SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
"""Heading -> text."""

RUN = ("python", "bash")
"""Languages of blocks that tests run; those of others are to be read."""


def blocks_of(heading: str, language: str) -> list[str]:
    """What stands in this section's blocks of this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", SECTIONS[heading], re.MULTILINE | re.DOTALL)


def block_of(heading: str, language: str) -> str:
    """The only one."""
    (block,) = blocks_of(heading, language)
    return block
