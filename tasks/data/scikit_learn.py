"""scikit-learn's data sets, imported when the first of them is loaded."""

from types import ModuleType

from tasks.data.missing import MissingDataError


def datasets() -> ModuleType:
    """The module `sklearn.datasets`, imported late: that takes longer than all else a command or worker imports.

    Raises:
        MissingDataError: scikit-learn isn't installed.
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        raise MissingDataError("this data set needs scikit-learn: pip install 'velo[tasks]'") from error
    return datasets
