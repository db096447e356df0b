"""The verbs of `python -m ip2p`, a file each."""
