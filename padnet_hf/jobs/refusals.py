"""What a library refuses becomes one PADNetError; a mistake of our own stays what it is, with its traceback."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import padnet_hf
from padnet_hf.errors import PADNetError

_PACKAGE = Path(padnet_hf.__file__).parent
_LONGEST_REASON = 300


@contextmanager
def as_one_error(what: str, remedy: str, *, always: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turn what a library raises in the block into a PADNetError, `<what>: <reason>; <remedy>`, with its cause.

    An error that is raised by a line of this package, or by a neighbour of the file that the block is in, is a mistake
    in our code, and stays as it is, unless it is one of `always`; a PADNetError stays as it is too.
    """
    try:
        yield
    except PADNetError:
        raise
    except Exception as error:
        if not isinstance(error, always) and _is_our_own(error.__traceback__):
            raise
        raise PADNetError(f"{what}: {_reason(error)}; {remedy}") from error


def _is_our_own(traceback: TracebackType | None) -> bool:
    """Whether the last line that ran is in this package, or in the folder of the block's file: the second frame."""
    files = []
    while traceback is not None:
        files.append(Path(traceback.tb_frame.f_code.co_filename))
        traceback = traceback.tb_next
    return _PACKAGE in files[-1].parents or files[-1].parent == files[min(1, len(files) - 1)].parent


def _reason(error: Exception) -> str:
    """Its message in one line, with the error's name where that alone says little."""
    text = " ".join(str(error).split())[:_LONGEST_REASON].rstrip(" .;")
    is_sentence = isinstance(error, ValueError | OSError | RuntimeError | ImportError) and " " in text
    return text if is_sentence else f"{type(error).__name__}: {text}"
