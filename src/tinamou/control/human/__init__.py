"""HMP commands by topic; found by folder."""
