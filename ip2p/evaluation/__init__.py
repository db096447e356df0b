"""Measuring edit models: similarity to the input against the edit asked for, over the scales; baselines; one report."""
