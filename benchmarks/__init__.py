"""Programs that measure; not part of the installed package. Run them from the repository root: `make bench`."""
