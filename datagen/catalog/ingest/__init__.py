"""Model files of other people to canonical GLBs, read in supervised processes."""
