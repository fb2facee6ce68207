"""Comparison of runs: loading, statistics, and the HTML, Markdown and CSV reports."""
