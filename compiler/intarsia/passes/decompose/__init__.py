"""Ops made of simpler ones."""
