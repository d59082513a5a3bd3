"""PCI hosts, bridges and the base of PCI functions."""
