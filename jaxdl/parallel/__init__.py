"""Meshes, sharding rules and the compilation of one step for many devices."""
