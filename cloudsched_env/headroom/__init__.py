"""How far agents are from what is possible: offered loads, bounds from above and below, what each part costs."""
