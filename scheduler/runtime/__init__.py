"""Tools of compiled code that know nothing of scheduling."""
