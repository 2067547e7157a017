"""A model's report: one page that opens offline, with figures to look into and a strain explorer."""
