"""Sphinx's configuration. The pages' sources are collected by `python -m website`."""

import regzoo

project = "regzoo"
author = "The regzoo developers"
copyright = author  # noqa: A001 - Sphinx's name
version = release = regzoo.__version__
extensions = ["myst_nb", "sphinx_copybutton"]
language = "en"
html_title = f"regzoo {version}"
html_theme = "furo"
html_static_path = ["theme", "../regzoo/reports/templates/charts.css"]
html_css_files = ["charts.css", "site.css"]
html_js_files = ["site.js"]
html_show_sourcelink = False
html_copy_source = False
html_show_copyright = False
html_show_search_summary = False  # a page opened from a file cannot read others
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"

myst_enable_extensions: list[str] = []
myst_heading_anchors = 4
myst_links_external_new_tab = False
# The commands of a notebook write files; each is executed in a folder of its own.
nb_execution_mode = "cache"
nb_execution_in_temp = True
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_mime_priority_overrides: list[tuple[str, str, int]] = []
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
suppress_warnings = ["myst.header", "misc.highlighting_failure"]

_FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
# The colours of regzoo/reports/templates/page.css.
_LIGHT = {
    "font-stack": _FONT,
    "color-brand-primary": "#0b5c8a",
    "color-brand-content": "#0b5c8a",
    "color-brand-visited": "#0b5c8a",
    "color-foreground-primary": "#16191d",
    "color-foreground-secondary": "#55606b",
    "color-foreground-muted": "#55606b",
    "color-foreground-border": "#8d969f",
    "color-background-primary": "#ffffff",
    "color-background-secondary": "#f5f7f9",
    "color-background-border": "#e1e5e9",
    "color-inline-code-background": "#f5f7f9",
}
_DARK = {
    "color-brand-primary": "#6db7ea",
    "color-brand-content": "#6db7ea",
    "color-brand-visited": "#6db7ea",
    "color-foreground-primary": "#e8eaed",
    "color-foreground-secondary": "#a8b1bb",
    "color-foreground-muted": "#a8b1bb",
    "color-foreground-border": "#76808b",
    "color-background-primary": "#14171b",
    "color-background-secondary": "#1b1f25",
    "color-background-border": "#2c323a",
    "color-inline-code-background": "#1b1f25",
}
html_theme_options = {"light_css_variables": _LIGHT, "dark_css_variables": _DARK, "navigation_with_keys": False}
