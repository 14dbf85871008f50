"""The HTTP side: one file per wire dialect, and what they share."""
