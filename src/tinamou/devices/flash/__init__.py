"""Flash memories."""
