"""The exit status of a command: a user's mistake is one line on stderr; our own errors keep their traceback."""

import sys
from collections.abc import Callable

MISTAKE = 2
INTERRUPTED = 130


def exit_code(prog: str, command: Callable[[], None], mistakes: tuple[type[Exception], ...]) -> int:
    """Runs `command` and returns 0, 2 for an exception of the types `mistakes` or an OSError, or 130 for an interrupt.

    Such an exception becomes one line on stderr; others are raised.
    """
    try:
        command()
    except (*mistakes, OSError) as error:
        print(f"{prog}: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201
        return MISTAKE
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr)  # noqa: T201
        return INTERRUPTED
    return 0
