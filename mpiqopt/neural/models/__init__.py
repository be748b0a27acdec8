"""Built-in networks, one file each: ``build(shape, outputs, **options)`` returns an ``nn.Module``."""
