"""Studies: methods fitted to the same rows of the same data sets, scored, and told in tables and figures."""
