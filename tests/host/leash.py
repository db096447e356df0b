"""Runs a command that ends when whoever started it does, even when that one was killed.

    python leash.py COMMAND …

Standard input is the leash: a pipe that the system closes with the process at its other end. Start it in a session of its own.
"""

import os
import signal
import subprocess
import sys
import threading


def end_with_parent():
    while os.read(0, 1):  # not through sys.stdin, whose lock would be held when the process ends by itself
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    threading.Thread(target=end_with_parent, daemon=True).start()
    sys.exit(child.wait())
