"""The commands of `cronos`, a module each: `arguments` declares its options, `execute` runs it."""
