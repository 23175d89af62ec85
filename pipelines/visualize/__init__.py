"""Pictures and tables of scenes, for people."""
