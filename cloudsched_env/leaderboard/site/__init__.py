"""The static page: templates, style and script, and the code that fills them."""
