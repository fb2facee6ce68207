"""Run folders and what the commands of launch.py do with them."""
