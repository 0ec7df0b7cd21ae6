"""Training: losses, schedule and optimiser as pure functions, and the loop that runs them on many devices."""
