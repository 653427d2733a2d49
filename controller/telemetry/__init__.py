"""The Sparkplug host: sessions of nodes, births, gaps, presence."""
