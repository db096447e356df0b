"""A stand-in for the WebUI's `launch`: lacks the packages named in $LACKING and writes down what pip is asked for."""

import os


def is_installed(package):
    return package not in os.environ["LACKING"].split()


def run_pip(command, desc=None):
    print(f"pip {command}")
