"""Time-series windows and tabular rows.

Modules:
  windows: Forecasting windows of one or many series.
  rows: Standardized rows of a table.
"""
