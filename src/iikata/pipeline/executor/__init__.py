"""Several devices: the head keeps the run folder and gives out arms; a worker a device holds the base and does them."""
