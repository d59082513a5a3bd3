"""The Blinky board and its parts, as a plug-in for Tinamou."""
