"""Boards, one file each, in the folder of their architecture."""
