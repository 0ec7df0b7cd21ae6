"""Another helper (H) is writing this file now: leave it to him."""
