"""Readers, the store of processed rooms, augmentation, datasets."""
