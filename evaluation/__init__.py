"""Compares optimizers on fixed tasks: curves on disk, tuned baselines, scores, a report."""
