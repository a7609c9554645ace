"""Revisions that try to get past the guard, and honest ones that must get through; see ``cases``."""
