"""Where weights come from: their distribution against the catalogue of rules; without torch."""
