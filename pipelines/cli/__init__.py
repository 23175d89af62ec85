"""The command line: sigma VERB."""
