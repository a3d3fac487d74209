"""The version: written here, and read by the package's metadata, artifacts and the command line."""

__version__ = "0.1.0"
