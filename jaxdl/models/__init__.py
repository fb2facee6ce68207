"""Pure Flax (linen) modules, one file a family, and the layers they share."""
