"""How the commands of this folder end: in order at a signal, and with a message and its remedy when something is wrong."""

import signal
import subprocess
import sys

from programs import Failed


def command(main):
    """Runs a command; gives its exit code."""
    # What was started is ended by the code that started it, at a signal, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return main()
    except KeyboardInterrupt:
        print("error: broken off", file=sys.stderr)
        return 130
    except (Failed, subprocess.TimeoutExpired) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
