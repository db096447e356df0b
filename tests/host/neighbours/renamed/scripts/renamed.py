"""A host of later days: one helper, named in $RENAMED, takes other arguments for the extension under test and nobody else."""

import os

from ip2p_probe.breakage import hidden

lasting = hidden(os.environ["RENAMED"], changed=True)  # kept, for its end would come with the last reference to it
lasting.__enter__()
