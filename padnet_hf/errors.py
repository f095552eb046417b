"""The package's own exceptions."""


class PADNetError(ValueError):
    """A request that cannot be carried out.

    Every message names the value that is wrong, what is allowed and what to do about it. It is raised before any work
    is done, or after the work has been undone. A `ValueError`, so that code that does not know this package catches it.
    """


class PADCheckpointError(PADNetError, RuntimeError):
    """A checkpoint that does not hold together; also a `RuntimeError`, as transformers' for misfits."""


MISREAD = (ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError)
"""What code that trusts a file raises, deep inside, when the file holds something else."""


class PADHubError(PADNetError, OSError):
    """What the Hub refused, or could not be asked; also an `OSError`, as transformers' for such."""
