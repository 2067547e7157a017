"""Active learning: choosing strains, labelling them with DFT, and the campaign that does both."""
