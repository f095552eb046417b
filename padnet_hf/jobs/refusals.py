"""What a library refuses becomes one PADNetError; a mistake of our own stays what it is, with its traceback."""

import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb
from types import TracebackType

import padnet_hf
from padnet_hf.errors import PADNetError

_PACKAGE = Path(padnet_hf.__file__).parent
_STANDARD = Path(sysconfig.get_path("stdlib"))
_INSTALLED = frozenset(("site-packages", "dist-packages"))
_LONGEST_REASON = 300


@contextmanager
def as_one_error(what: str, remedy: str, *, always: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turn what a library raises in the block into a PADNetError, `<what>: <reason>; <remedy>`, with its cause.

    An error that is raised by a line of this package, or of a script, is a mistake in that code, and stays as it is,
    unless it is one of `always`; a PADNetError stays as it is too.
    """
    try:
        yield
    except PADNetError:
        raise
    except Exception as error:
        if not isinstance(error, always) and _is_our_own(error.__traceback__):
            raise
        raise PADNetError(f"{what}: {_reason(error)}; {remedy}") from error


def _is_our_own(trace: TracebackType | None) -> bool:
    """Whether the last line that ran is in this package, or in no installed one."""
    *_, (frame, _) = walk_tb(trace)
    path = Path(frame.f_code.co_filename)
    is_installed = not path.is_absolute() or _STANDARD in path.parents or not _INSTALLED.isdisjoint(path.parts)
    return _PACKAGE in path.parents or not is_installed


def _reason(error: Exception) -> str:
    """Its message in one line, with the error's name where that alone says little."""
    text = " ".join(str(error).split())[:_LONGEST_REASON].rstrip(" .;")
    is_sentence = isinstance(error, ValueError | OSError | RuntimeError | ImportError) and " " in text
    return text if is_sentence else f"{type(error).__name__}: {text}"
