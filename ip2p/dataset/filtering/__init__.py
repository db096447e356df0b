"""Which pairs of a set are kept: by scores, which are stored beside it, and thresholds, calibrated on pairs whose truth is known."""
