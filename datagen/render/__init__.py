"""The BlenderProc source of pixels: a worker process and its supervisor."""
