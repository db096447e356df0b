"""What the WebUI loads: registers callbacks and the Script, nothing else."""

from ip2p.webui import register

InstructEdit = register()
