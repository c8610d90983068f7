"""What can go wrong by a user's hand.

Every message says what was given, what was expected and how to mend it. The command line prints
it as one line and exits with 2; a traceback is always a fault of ours.
"""


class FluoroscopeError(Exception):
    """Root of every error this package raises on purpose."""


class FluoroscopeWarning(UserWarning):
    """Something a user should know of a result that stands all the same."""


class UnknownModelError(FluoroscopeError):
    """A name that leads to no network."""


class ModelFormatError(FluoroscopeError):
    """A network's files that cannot be read, or a checkpoint that does not fit."""


class ModelOutputError(FluoroscopeError):
    """A network whose answer is not a finite ``(N, classes)`` tensor of logits."""


class NoGradientError(FluoroscopeError):
    """A network whose logits do not depend differentiably on the pixels."""


class HubUnreachableError(FluoroscopeError):
    """A hub that cannot be reached from here."""


class ClusterError(FluoroscopeError):
    """A cluster that cannot be reached, or whose machines cannot do the work."""


class MissingExtraError(FluoroscopeError):
    """An optional library that is not installed."""


class UnknownDataError(FluoroscopeError):
    """A name that leads to no pictures: data set, split, folder or file."""


class PictureError(FluoroscopeError):
    """A file or array that is no usable picture."""


class InvalidImagesError(FluoroscopeError, ValueError):
    """A tensor that is no batch of images ``(N, C, H, W)`` in ``[0, 1]``."""


class UnknownLabelError(FluoroscopeError, ValueError):
    """A class name or index that the network does not have."""


class InvalidParameterError(FluoroscopeError, ValueError):
    """A number or option outside its range."""


class ResultFormatError(FluoroscopeError):
    """A saved result that cannot be read back."""


class StorageError(FluoroscopeError):
    """A disk that is full, or that refuses what is to be written."""


class ChanceLevelError(FluoroscopeError):
    """A network whose clean accuracy is at chance level."""
