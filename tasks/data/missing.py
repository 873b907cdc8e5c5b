"""The error of a data set that is not on this machine."""


class MissingDataError(RuntimeError):
    """Says which package and which folder a data set needs; mixtures can be told to skip such sets."""
