"""The top of the house: presets, and the commands that run them."""
