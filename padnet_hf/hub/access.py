"""What stands between a user and a repository on the Hub, said in one clear error each."""

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from padnet_hf.errors import PADHubError, PADNetError

_LOGIN = "log in with `hf auth login`, or set HF_TOKEN"


def repository_name(source: str | PathLike[str] | None) -> str | None:
    """`source` if it can be a repository's name, None if it is a folder's."""
    name = str(source or "")
    try:
        validate_repo_id(name)
    except HFValidationError:
        return None
    return None if not name or Path(name).exists() else name


def not_cached(repo_id: str) -> str:
    """The message for a repository that is asked for without the Hub, and is not in the cache."""
    why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else f"{constants.ENDPOINT} was not asked or is silent"
    return (
        f"{repo_id!r} is neither a folder nor wholly in the cache ({constants.HF_HUB_CACHE}), and {why}: "
        f"on line, `hf download {repo_id}` gets it."
    )


@contextmanager
def explained(repo_id: str) -> Iterator[None]:
    """What the Hub, or the way to it, answers within the block becomes a PADHubError with the remedy."""
    try:
        yield
    except PADNetError:
        raise
    except HFValidationError as error:
        raise PADHubError(f"{repo_id!r} is neither a folder nor a repository's name, like 'org/name'.") from error
    except LocalEntryNotFoundError as error:
        raise PADHubError(not_cached(repo_id)) from error
    except OfflineModeIsEnabled as error:
        raise PADHubError(f"{repo_id!r} is out of reach: HF_HUB_OFFLINE is set; unset it for this.") from error
    except LocalTokenNotFoundError as error:
        raise PADHubError(f"no token for {repo_id!r}: {_LOGIN}.") from error
    except RevisionNotFoundError as error:
        raise PADHubError(
            f"{repo_id!r} has no such revision: {_line(error)}; look at its branches and tags."
        ) from error
    except EntryNotFoundError as error:
        raise PADHubError(f"{repo_id!r} lacks a file: {_line(error)}; it is no whole checkpoint.") from error
    except GatedRepoError as error:
        raise PADHubError(f"{repo_id!r} is gated: ask for access on its page, and {_LOGIN}.") from error
    except RepositoryNotFoundError as error:
        raise PADHubError(
            f"{repo_id!r} is not on {constants.ENDPOINT}, or is private: check the name, and {_LOGIN}."
        ) from error
    except HfHubHTTPError as error:
        raise PADHubError(_refused(repo_id, error)) from error
    except (ConnectionError, HTTPError) as error:
        raise PADHubError(f"{constants.ENDPOINT} cannot be reached for {repo_id!r}: {_line(error)}") from error
    except RuntimeError as error:  # of an upload: the client wraps what happened
        if not isinstance(error.__cause__, ConnectionError | HTTPError):
            raise
        with explained(repo_id):
            raise error.__cause__ from None


def _refused(repo_id: str, error: HfHubHTTPError) -> str:
    status = error.response.status_code
    if status == 401:
        return f"no valid token for {repo_id!r}: {_LOGIN}."
    if status == 403:
        return (
            f"the token may not write to {repo_id!r}: take one with write access to {repo_id.partition('/')[0]!r}, or "
            f"another name ({_line(error)})"
        )
    return f"{constants.ENDPOINT} answered {status} for {repo_id!r}: {_line(error)}; nothing was changed, try again."


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
