"""LoRA of a UNet or transformer: adapters, new or from a file, and how their layers are evaluated."""
