"""What a model is, in NumPy: what it predicts, from what, how sure it is, and the file that holds it."""
