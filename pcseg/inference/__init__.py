"""From decoder outputs to instances."""
