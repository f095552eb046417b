"""Engines that serve PAD models as they are."""
