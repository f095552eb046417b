"""Every reason for which a test of transformers' own is not run, in one place.

A skip for any other reason fails the run: what a new version of transformers skips is to be read first.
"""

OURS = ()
THEIRS = ()


def reason_to_skip(class_name: str, test: str) -> str | None:
    return None


def explain(wording: str, class_name: str, test: str) -> str | None:
    return None
