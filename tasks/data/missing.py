"""The error of a data set that is not on this machine."""


class MissingDataError(RuntimeError):
    """A data set isn't on this machine; the message says which package or folder it needs.

    Mixtures can skip such data sets (`TaskMixture.skip_missing`).
    """
