"""What follows from the energy of a strained lattice, each with its error bar."""
