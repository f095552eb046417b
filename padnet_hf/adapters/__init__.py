"""PEFT adapters on partially dynamic networks, and sparse ones. Needs the extra `peft`, imported on first use."""
