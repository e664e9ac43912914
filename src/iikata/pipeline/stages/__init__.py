"""One file a stage, named by its verb."""
