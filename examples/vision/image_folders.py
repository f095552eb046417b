"""Folders of image files, one subfolder for each class."""

import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from image_split import ImageSplit
from padnet_hf import PADNetError

logger = logging.getLogger("run_image_classification")

_NO_PICTURES = {"BUFR", "EPS", "FITS", "GRIB", "HDF5", "IPTC", "MPEG", "PCD", "WMF"}
"""Formats that PIL knows by name, but reads only with other programs, or that hold no pictures as a rule."""

SUFFIXES = frozenset(
    suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN and kind not in _NO_PICTURES
)
"""Of the files that PIL opens."""


def read_folder(folder: str, option: str, *, labelled: bool) -> ImageSplit:
    """The images in `folder`, in the order of their paths; each class is a subfolder, with any folders below.

    What is hidden (`.ipynb_checkpoints`, `.DS_Store`, `__MACOSX`) is passed over. Files that are no images are left
    out, and counted in the log.

    `labelled` says that classes are needed; without it the images may also lie in `folder` itself, without labels.
    Raises PADNetError if there is no such folder, no image, an image outside of the classes, or a class of files of
    which none is an image.
    """
    root = Path(folder)
    if not root.is_dir():
        raise PADNetError(f"--{option} {folder} is not a folder: give one that holds a subfolder of images per class")
    found = sorted(path for path in root.rglob("*") if not _is_hidden(path.relative_to(root)) and path.is_file())
    files = [path for path in found if path.suffix.lower() in SUFFIXES]
    others = [path for path in found if path.suffix.lower() not in SUFFIXES]
    if not files:
        raise PADNetError(
            f"--{option} {folder} holds no images: looked in it and below for {', '.join(sorted(SUFFIXES))}"
        )
    outside = [path for path in files if path.parent == root]
    if outside and (labelled or len(outside) < len(files)):
        raise PADNetError(
            f"the label of {str(outside[0])!r} is missing: --{option} needs every image in a subfolder named like its "
            "class; move it there"
        )
    labels = None if outside else tuple(_class_of(path, root) for path in files)
    if labels is not None:
        _check_classes(root, set(labels), others, option)
    if others:
        logger.info("--%s %s: left out, for no images: %s", option, folder, _kinds(others))
    return ImageSplit(
        f"--{option} {folder}", len(files), lambda index: Image.open(files[index]), lambda i: str(files[i]), labels
    )


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def _class_of(path: Path, root: Path) -> str:
    return path.relative_to(root).parts[0]


def _check_classes(root: Path, classes: set[str], others: list[Path], option: str) -> None:
    """Raise PADNetError for a subfolder whose files are all no images; say which ones are empty."""
    for path in sorted(path for path in root.iterdir() if path.is_dir() and not _is_hidden(path.relative_to(root))):
        if path.name in classes:
            continue
        files = [file for file in others if _class_of(file, root) == path.name]
        if files:
            raise PADNetError(
                f"--{option}: the class {path.name!r} has no images, but {len(files)} other files ({_kinds(files)}): "
                f"convert them to a format like .png, or move {str(path)!r} elsewhere"
            )
        logger.warning("--%s: %s holds no files, and is no class", option, path)


def _kinds(files: Iterable[Path]) -> str:
    """Suffixes with how often each is there."""
    counts = Counter(path.suffix.lower() or "without suffix" for path in files)
    return ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common())
