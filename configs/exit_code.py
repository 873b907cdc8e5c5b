"""The exit status of a command: a user's mistake is one line on stderr; our own errors keep their traceback."""

import sys
from collections.abc import Callable

MISTAKE = 2
INTERRUPTED = 130


def exit_code(prog: str, command: Callable[[], None], mistakes: tuple[type[Exception], ...]) -> int:
    """Runs `command`; exceptions of the types `mistakes` and of the operating system become one line on stderr."""
    try:
        command()
    except (*mistakes, OSError) as error:
        print(f"{prog}: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201
        return MISTAKE
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr)  # noqa: T201
        return INTERRUPTED
    return 0
