"""Drivers of the block graph, one file each; the file is named as the driver, with _ for -."""
