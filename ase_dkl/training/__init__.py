"""How a model is made, with torch: Algorithm 1 and its parts."""
