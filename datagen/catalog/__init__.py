"""Where 3D assets come from: ``base`` is the catalogue, the other files are its providers."""
