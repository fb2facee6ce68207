"""Windows of time series and rows of tables."""
