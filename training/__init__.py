"""Training of the zoo's models: data sets, recipes, fitting, export to models/."""
