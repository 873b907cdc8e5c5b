"""Presets, and the commands that run them."""
