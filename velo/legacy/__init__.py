"""What the released learned optimizers have in common, to the digit, quirks included."""
