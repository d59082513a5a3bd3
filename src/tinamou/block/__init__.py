"""Disk images: a graph of nodes, each a protocol, a format or a filter.

`node` holds the base classes and the code they share, `graph` opens and creates nodes, `options` declares what a driver
accepts. Drivers live in `protocols/`, `formats/` and `filters/`, one file each, found by folder.
"""
