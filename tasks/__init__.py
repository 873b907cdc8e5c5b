"""Training problems: random architectures for meta-training and named suites for evaluation."""
