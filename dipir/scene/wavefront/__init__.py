"""OBJ and MTL, read by ourselves."""
