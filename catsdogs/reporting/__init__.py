"""Build the HTML report: gather the metrics, select the images, draw the plots and render the template."""
