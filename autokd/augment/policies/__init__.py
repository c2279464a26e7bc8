"""The policies by name, one file each: a function of settings that returns a Policy. A new file here is a new policy."""
