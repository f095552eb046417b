"""One file of a commit: how it is kept, and the hashes by which git and the Hub name it."""

import hashlib
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property

LFS_PATTERNS = (
    "*.bin",
    "*.gz",
    "*.h5",
    "*.jpg",
    "*.msgpack",
    "*.npy",
    "*.npz",
    "*.onnx",
    "*.parquet",
    "*.pkl",
    "*.png",
)
LFS_PATTERNS += ("*.pt", "*.pth", "*.safetensors", "*.tar", "*.zip", "*tfevents*")
LFS_FROM_SIZE = 10 * 1024 * 1024
GITATTRIBUTES = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in LFS_PATTERNS).encode()


def is_large(path: str, size: int, sample: bytes) -> bool:
    """Whether the Hub keeps a file as an LFS object: by name, by size, or because it is not text."""
    by_name = any(fnmatch(path.rsplit("/", 1)[-1], pattern) for pattern in LFS_PATTERNS)
    return size > 0 and (by_name or size > LFS_FROM_SIZE or b"\0" in sample)


@dataclass(frozen=True)
class StoredFile:
    """One file of a commit."""

    content: bytes
    lfs: bool

    @classmethod
    def of(cls, path: str, content: bytes) -> "StoredFile":
        return cls(content, is_large(path, len(content), content[:512]))

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def pointer(self) -> bytes:
        """What git itself holds in place of an LFS object."""
        size = len(self.content)
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {size}\n".encode()

    @cached_property
    def blob_id(self) -> str:
        blob = self.pointer if self.lfs else self.content
        return hashlib.sha1(b"blob %d\0" % len(blob) + blob).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.blob_id
