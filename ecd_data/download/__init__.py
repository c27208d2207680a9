"""The download of the ECD release from its web servers into a store; a second call continues an interrupted one."""
