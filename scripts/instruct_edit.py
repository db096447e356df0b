"""What the WebUI loads: registers callbacks, nothing else."""

from ip2p.webui import register

register()
