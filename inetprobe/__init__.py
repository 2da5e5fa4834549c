"""inetprobe: live call traces of how an inet socket comes to be."""

__version__ = "1.0.0.dev0"
