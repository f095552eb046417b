"""Every rule in docs/data.md has a test beside it that is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROWS = [
    line for line in (ROOT / "docs" / "data.md").read_text(encoding="utf-8").splitlines() if re.match(r"\| [^|-]", line)
]


def test_every_rule_names_a_test_that_is_there() -> None:
    rules = [row for row in ROWS if row != "| rule | test |"]
    assert len(rules) > 20
    for rule in rules:
        named = re.findall(r"`(tests/[\w/.]+)::(\w+)`", rule.rsplit("|", 2)[1])
        assert named, rule
        for path, name in named:
            assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), (path, name)
