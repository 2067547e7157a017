"""Computing labels: a calculation, where it runs, and what becomes of it."""
