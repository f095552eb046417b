"""Dynamic layers built on PADWeight; they know no models."""
