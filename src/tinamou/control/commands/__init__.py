"""QMP commands by topic; found by folder."""
