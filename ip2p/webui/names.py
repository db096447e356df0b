"""Names by which the host knows the tab, and by which the tab calls the kinds of results."""

from ..edit import FULL, OWN_SIZE, WORKING

TAB_LABEL, TAB_ID = "Instruct edit", "ip2p"
RESULT_LABELS = {FULL: "Full size with detail", OWN_SIZE: "Own size, enlarged", WORKING: "Working size"}
RESULTS_BY_LABEL = {label: result for result, label in RESULT_LABELS.items()}
