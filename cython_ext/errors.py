"""The few misuse errors that cross packages. Troubles are values, not exceptions; bugs crash."""


class BuciumError(Exception):
    """Misuse, with facts: the message says what is wrong and what to do."""


class ConfigError(BuciumError, ValueError):
    """A configuration or plan that must not run.

    `source` is the file or document, `line` is 1-based (0: unknown).
    """

    def __init__(self, message: str, *, source: str = "", line: int = 0) -> None:
        self.source = source
        self.line = line
        where = f"{source}:{line}: " if source and line else f"{source}: " if source else ""
        super().__init__(where + message)


class WireError(BuciumError, ValueError):
    """Bytes that are not a message of ours: `code` is a stable short word, for counting."""

    def __init__(self, code: str, message: str = "") -> None:
        self.code = code
        super().__init__(f"{code}: {message}" if message else code)
