"""What can go wrong, by what the caller can do about it: one class for each kind of the library's error."""


class Error(Exception):
    """The base of all errors of this package. `code` is stable and meant for programs."""

    code: str = "error"

    def __reduce__(self) -> tuple[object, ...]:
        return of, (self.code, str(self))


class IoError(Error, OSError):
    """A file or folder could not be read or written."""

    code = "io"


class UnsupportedMediaError(Error, ValueError):
    """The bytes are not sound in a format that can be decoded; the text says what they are, where that is known."""

    code = "unsupported_media"


class InvalidAudioError(Error, ValueError):
    """The format is known, but the sound in it cannot be used."""

    code = "invalid_audio"


class TooShortError(Error, ValueError):
    """There is less sound than one analysis frame (25 ms)."""

    code = "too_short"


class TooLongError(Error, ValueError):
    """There is more sound than `max_seconds` allows, or (`messymash.ray`) a larger file than `max_bytes` does."""

    code = "too_long"


class CheckpointError(Error):
    """A model directory is missing, damaged, or not what its configuration says."""

    code = "checkpoint"


class ConfigError(Error, ValueError):
    """A setting is unknown, out of range, or contradicts another."""

    code = "config"


class DatasetError(Error):
    """The data set lacks something that the work needs."""

    code = "dataset"


class RunError(Error):
    """A run directory cannot be read."""

    code = "run"


_KINDS: dict[str, type[Error]] = {kind.code: kind for kind in Error.__subclasses__()}


def of(code: str, message: str) -> Error:
    """The error of a kind; of a kind that has no class, one of the base with that code."""
    error = _KINDS.get(code, Error)(message)
    error.code = code
    return error
