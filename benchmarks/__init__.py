"""Every claim about speed and memory is measured here, side by side in one run."""
