"""From a configuration to cases, ordered slots and an estimated cost."""
