"""Folders of image files, one subfolder for each class."""

from pathlib import Path

from PIL import Image

from image_split import ImageSplit
from padnet_hf import PADNetError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".pgm", ".tif", ".tiff", ".webp")


def read_folder(folder: str, option: str, *, labelled: bool) -> ImageSplit:
    """The images in `folder`, in the order of their paths; each class is a subfolder, with any folders below.

    `labelled` says that classes are needed; without it the images may also lie in `folder` itself, without labels.
    Raises PADNetError if there is no such folder, no image, or an image outside of the classes.
    """
    root = Path(folder)
    if not root.is_dir():
        raise PADNetError(f"--{option} {folder} is not a folder: give one that holds a subfolder of images per class")
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        raise PADNetError(f"--{option} {folder} holds no images: looked in it and below for {', '.join(SUFFIXES)}")
    outside = [path for path in files if path.parent == root]
    if outside and (labelled or len(outside) < len(files)):
        raise PADNetError(
            f"the label of {str(outside[0])!r} is missing: --{option} needs every image in a subfolder named like its "
            "class; move it there"
        )
    labels = None if outside else tuple(path.relative_to(root).parts[0] for path in files)
    return ImageSplit(
        f"--{option} {folder}", len(files), lambda index: Image.open(files[index]), lambda i: str(files[i]), labels
    )
