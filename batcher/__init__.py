"""Run a file of prompts through a text-to-video API: never pay twice, never lose a clip you paid for."""

__version__ = "0.1.0"
