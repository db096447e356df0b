"""Names by which the host knows the tab."""

TAB_LABEL, TAB_ID = "Instruct edit", "ip2p"
