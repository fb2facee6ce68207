"""Losses, metrics and generation code shared by several tasks."""
