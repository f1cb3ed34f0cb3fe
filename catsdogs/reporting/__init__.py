"""Build the HTML report: gather the figures, choose the images, draw the plots, and fill in the template."""
