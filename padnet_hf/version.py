"""The package's version: read by setup.py, and written into every checkpoint's partition record."""

__version__ = "0.2.0"
