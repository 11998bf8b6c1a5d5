"""Walks each task past the provider to its files, keeps the limit, stops well."""
