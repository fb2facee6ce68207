"""The commands of `launch.py`, one module per command."""
