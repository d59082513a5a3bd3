"""System controllers and other small parts."""
