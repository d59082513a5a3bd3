"""What each CPU does: one folder per architecture, the same file names in each."""
