"""Family of rank fusions, which merge the rankings of several indexes into one."""
