"""PEFT adapters on partially dynamic networks, and sparse ones. Needs the extra `peft`; nothing imports it before use."""
