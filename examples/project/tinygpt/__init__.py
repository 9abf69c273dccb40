"""A small GPT whose initialisation is tested."""
