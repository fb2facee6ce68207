"""Meshes, sharding rules, processes, and the hardware cost model."""
