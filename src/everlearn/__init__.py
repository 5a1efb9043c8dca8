"""Everlearn keeps a language model learning after it ships."""
