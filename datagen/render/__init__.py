"""Rendering with BlenderProc: the worker process, its supervisor, and the environment's mesh."""
