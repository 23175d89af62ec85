"""Where assets come from: one file per provider."""
